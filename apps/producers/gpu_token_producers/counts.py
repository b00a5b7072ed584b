"""Counts of the events that were given to Kafka's client."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class TopicCount:
    """Counts of one topic's events."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts over all topics at one moment."""

    sent: int
    delivered: int
    failed: int

    @property
    def outstanding(self) -> int:
        """Accepted, with no report yet."""
        return self.sent - self.delivered - self.failed


Observer = Callable[[Totals], None]
