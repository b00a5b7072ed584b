"""An element of build/drill.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Entry:
    """One strike. `recovered_s` counts from the end of the outage that the drill made."""

    unit: ClassVar[str] = "events"
    """What `sent` and `stored` count."""

    fault: str
    at: str
    sent: int
    stored: int
    dead_lettered: int
    lost: int
    duplicates: int
    recovered_s: float

    @property
    def passed(self) -> bool:
        """Whether nothing was lost and nothing is there twice."""
        return self.lost == 0 and self.duplicates == 0
