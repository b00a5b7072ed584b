"""What stops a producer."""


class ProducerError(Exception):
    """A failure that one sentence explains; the command prints it and exits with 1."""
