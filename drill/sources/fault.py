"""Which parts on the way from an engine to Kafka are struck, and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

# In the order in which a strike of several parts hits them.
Part = Literal["broker", "collector", "engine", "engine drained"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class SourcesFault:
    """Kills of an engine, of the collector that reads it and of the broker, in an order that the seed gives.

    An engine is never killed within the same strike as the collector: what it had shown to a collector
    that was killed before it wrote it down would be gone with both.
    """

    name: str
    strikes: tuple[tuple[tuple[Part, ...], int], ...] = (
        (("engine",), 6),
        (("engine drained",), 4),
        (("collector",), 5),
        (("broker",), 2),
        (("broker", "collector"), 2),
        (("broker", "engine"), 1),
        (("broker", "engine drained"), 1),
    )

    @property
    def times(self) -> int:
        """How many strikes there are; one of two parts counts once."""
        return sum(times for _, times in self.strikes)

    def order(self, draw: random.Random) -> list[tuple[Part, ...]]:
        """The parts of each strike, one after the other."""
        drawn = [parts for parts, times in self.strikes for _ in range(times)]
        draw.shuffle(drawn)
        return drawn
