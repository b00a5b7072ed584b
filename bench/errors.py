"""The error that the benchmark raises itself."""


class BenchError(Exception):
    """Why the benchmark cannot go on, in one sentence."""
