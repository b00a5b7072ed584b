"""Compares the numbers that were sent with those that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Sent:
    """What was sent around one fault."""

    events: set[int] = field(default_factory=set)
    poison: set[int] = field(default_factory=set)

    def take(self, line: str) -> None:
        """A line of the load: what it sent, and its number."""
        what, number = line.split()
        {"event": self.events, "poison": self.poison}[what].add(int(number))


@dataclass
class Found:
    """How often each number is in the store, and in the dead-letter topics."""

    events: Counter[int] = field(default_factory=Counter)
    poison: Counter[int] = field(default_factory=Counter)

    @classmethod
    def read(cls, lines: Iterable[str]) -> Found:
        """Read the counting scripts' output."""
        found = cls()
        for line in lines:
            what, number = line.split()
            {"event": found.events, "poison": found.poison}[what][int(number)] += 1
        return found


@dataclass(frozen=True)
class Balance:
    """Sent = stored + dead_lettered + lost, and `duplicates` of them are there more than once."""

    sent: int
    stored: int
    dead_lettered: int
    lost: int
    duplicates: int


def together(parts: Iterable[Sent]) -> Sent:
    """All that was sent, over all faults."""
    whole = Sent()
    for part in parts:
        whole.events |= part.events
        whole.poison |= part.poison
    return whole


def balance(sent: Sent, found: Found) -> Balance:
    """The counts of one fault: a good event must be stored, poison must be dead-lettered, each once."""
    total = len(sent.events) + len(sent.poison)
    stored = len(sent.events & found.events.keys())
    dead_lettered = len(sent.poison & found.poison.keys())
    copies = sum(found.events[number] - 1 for number in sent.events & found.events.keys())
    copies += sum(found.poison[number] - 1 for number in sent.poison & found.poison.keys())
    both = len(sent.events & found.poison.keys()) + len(sent.poison & found.events.keys())
    return Balance(total, stored, dead_lettered, total - stored - dead_lettered, copies + both)
