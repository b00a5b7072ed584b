"""Compares what an engine showed and what the intake confirmed with what is in the store.

Nothing here uses the product's own sums or keys.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from drill.sources.record import Amounts, Life, Look


@dataclass(frozen=True)
class Window:
    """From one recovery to the next: from this moment on, and what the intake confirmed meanwhile."""

    begin_ms: int
    confirmed: frozenset[int] = frozenset()


@dataclass
class Stored:
    """What the store has of a run. Times are in milliseconds since 1970."""

    # Of the engine: when its counters were read, and what they had gained.
    usage: list[Look] = field(default_factory=list)
    # How often each call of the gateway is there, by its number.
    calls: Counter[int] = field(default_factory=Counter)
    # When each copy of an id that is there already happened.
    repeated_ms: list[int] = field(default_factory=list)
    refused_ms: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, lines: Iterable[str]) -> Stored:
        """Read what drill/remote/list_collected.py prints."""
        stored = cls()
        ids: set[str] = set()
        for line in lines:
            note = json.loads(line)
            if note["what"] == "refused":
                stored.refused_ms.append(note["at_ms"])
                continue
            if note["id"] is None or note["id"] in ids:
                stored.repeated_ms.append(note["at_ms"])
            ids.add(note["id"])
            if note["what"] == "call":
                stored.calls[note["number"]] += 1
            else:
                stored.usage.append(Look(note["at_ms"], Amounts(*note["amounts"])))
        return stored


@dataclass(frozen=True)
class Book:
    """One window. `lost` and `duplicates` add up tokens (cached ones again), requests, and calls."""

    seen: Amounts
    stored: Amounts
    confirmed: int
    calls_stored: int
    dead_lettered: int
    lost: int
    duplicates: int


def gains(lives: Sequence[Life]) -> list[Look]:
    """What each look showed more than the one before. The very first shows the past, and gains nothing."""
    gained: list[Look] = []
    before: Amounts | None = None
    for life in lives:
        for look in life.looks:
            gained.append(Look(look.at_ms, look.amounts.minus(look.amounts if before is None else before)))
            before = look.amounts
        if before is not None:
            before = Amounts()
    return gained


def books(windows: Sequence[Window], lives: Sequence[Life], stored: Stored) -> list[Book]:
    """A book for each window. What belongs to none of them is in the last.

    A window must begin at a look, after one that was recorded: a collector that is killed between a
    look and its record counts both with the next.
    """
    gained = gains(lives)
    confirmed = frozenset[int]().union(*(window.confirmed for window in windows))
    made: list[Book] = []
    for number, window in enumerate(windows):
        is_last = number == len(windows) - 1
        begin_ms = window.begin_ms if number else 0
        end_ms = None if is_last else windows[number + 1].begin_ms
        seen, kept = _sum(gained, begin_ms, end_ms), _sum(stored.usage, begin_ms, end_ms)
        calls = {call: times for call, times in stored.calls.items() if call in window.confirmed}
        strangers = sum(times for call, times in stored.calls.items() if is_last and call not in confirmed)
        missing = sum(max(0, amount) for amount in seen.minus(kept))
        excess = sum(max(0, amount) for amount in kept.minus(seen))
        excess += sum(calls.values()) - len(calls) + strangers
        made.append(
            Book(
                seen=seen,
                stored=kept,
                confirmed=len(window.confirmed),
                calls_stored=sum(calls.values()) + strangers,
                dead_lettered=_count(stored.refused_ms, begin_ms, end_ms),
                lost=missing + len(window.confirmed) - len(calls),
                duplicates=excess + _count(stored.repeated_ms, begin_ms, end_ms),
            )
        )
    return made


def _sum(looks: Iterable[Look], begin_ms: int, end_ms: int | None) -> Amounts:
    total = Amounts()
    for look in looks:
        if _within(look.at_ms, begin_ms, end_ms):
            total = total.plus(look.amounts)
    return total


def _count(moments_ms: Iterable[int], begin_ms: int, end_ms: int | None) -> int:
    return sum(_within(at_ms, begin_ms, end_ms) for at_ms in moments_ms)


def _within(at_ms: int, begin_ms: int, end_ms: int | None) -> bool:
    return begin_ms <= at_ms and (end_ms is None or at_ms < end_ms)
