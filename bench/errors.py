"""The error that the benchmark raises itself."""


class BenchError(Exception):
    """Says in one sentence why the benchmark cannot continue."""
