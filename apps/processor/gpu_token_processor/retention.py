"""How long events are kept, and what follows from it for those that come late and for hours to be counted.

The store deletes an event `raw_days` after its own time, when it gets to it. An hour is counted from all of
its events, so it can only be counted as long as none of them is near that age. What has been counted stays.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from gpu_token_processor.ledger.exact import US_PER_HOUR, stored_us

# Clocks differ, and an hour takes a while to be counted.
_BEFORE_DELETION = timedelta(days=1)
# So long the processors may be away, and what came late is still counted.
_TO_COUNT = timedelta(days=1)


class Retention(NamedTuple):
    """`raw_days`: how long events are kept; `gap`: how long a reading holds."""

    raw_days: int
    gap: timedelta

    @property
    def accepted_age(self) -> timedelta:
        """The greatest age of an event, of an interval at its begin, that still can be counted."""
        return timedelta(days=self.raw_days) - _BEFORE_DELETION - self.gap - _TO_COUNT

    def first_hour(self, now: datetime) -> int:
        """The first hour since 1970 that can be counted, with readings that reach into it."""
        oldest_us = stored_us(now - timedelta(days=self.raw_days) + _BEFORE_DELETION + self.gap)
        return -(-oldest_us // US_PER_HOUR)
