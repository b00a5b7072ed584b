"""Says what goes wrong, at most once a minute for each kind."""

import logging
import time
from collections.abc import Callable

_EVERY_SECONDS = 60.0


class Notes:
    """The metrics count each case; a flood must not fill the log too."""

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._said_at: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def say(self, kind: str, text: str, *values: object) -> None:
        """Log a warning, with the number of those of its kind that were kept back since the last one."""
        now = self._now()
        if now - self._said_at.get(kind, float("-inf")) < _EVERY_SECONDS:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return
        self._said_at[kind] = now
        more = self._kept_back.pop(kind, 0)
        self._log.warning(text + (f" ({more} more since the last such line)" if more else ""), *values)
