"""What the processor's own threads have in common, which work slowly beside the data path and the answers."""

import logging

from pymongo.errors import PyMongoError

from gpu_token_processor.store.failures import brief

# Of one core.
SHARE = 0.25
# Decoded at once, while no other thread can run.
BATCH_EVENTS = 500


class Failures:
    """Names each kind of failure once, until the work succeeds again."""

    def __init__(self, log: logging.Logger, *, without_store: str, otherwise: str) -> None:
        """`without_store` and `otherwise`: what does not get done if MongoDB fails, or anything else."""
        self._log = log
        self._without_store = without_store
        self._otherwise = otherwise
        self._kind: type[Exception] | None = None

    def note(self, error: Exception) -> None:
        """To be called while the error is handled."""
        if type(error) is self._kind:
            return
        self._kind = type(error)
        if isinstance(error, PyMongoError):
            self._log.warning("%s: %s", self._without_store, brief(error))
        else:
            self._log.exception("%s", self._otherwise)

    def end(self) -> None:
        """The work has succeeded."""
        self._kind = None
