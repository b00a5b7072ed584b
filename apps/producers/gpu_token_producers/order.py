"""A trace's rows in order of time, in whatever order the file has them."""

import heapq
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gpu_token_contracts import to_us

from gpu_token_producers.trace import BrokenRow, TraceRow, parse_row, read_places, read_trace

# Rows that are sorted at once.
_RUN_ROWS = 100_000


class _Run(NamedTuple):
    """Some rows in order of time: microseconds, row number, and the byte at which the line begins."""

    ts_us: "array[int]"
    row: "array[int]"
    begin: "array[int]"


class TimeOrder:
    """The rows by time, those of equal times as they stand in the file.

    A file that is in order is read straight through. Of any other, 24 bytes a row stay in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runs: list[_Run] = []

    def find(self) -> Iterator[BrokenRow]:
        """Look for the order, once and before `rows`. Gives the rows that can have no place in it."""
        latest = None
        in_order = True
        for row in read_trace(self._path):
            if isinstance(row, BrokenRow):
                yield row
                continue
            in_order = in_order and (latest is None or latest <= row.ts)
            latest = row.ts
        if not in_order:
            self._runs = list(_runs(self._path))

    def rows(self) -> Iterator[TraceRow]:
        """The rows in order of time."""
        if not self._runs:
            yield from (row for row in read_trace(self._path) if isinstance(row, TraceRow))
            return
        with self._path.open("rb") as file:
            for _, row, begin in heapq.merge(*(zip(*run, strict=True) for run in self._runs)):
                file.seek(begin)
                yield parse_row(row, file.readline().rstrip(b"\r\n"))


def _runs(path: Path) -> Iterator[_Run]:
    rows: list[tuple[int, int, int]] = []
    for begin, row in read_places(path):
        if isinstance(row, TraceRow):
            rows.append((to_us(row.ts), row.row, begin))
        if len(rows) == _RUN_ROWS:
            yield _sorted_run(rows)
            rows.clear()
    if rows:
        yield _sorted_run(rows)


def _sorted_run(rows: list[tuple[int, int, int]]) -> _Run:
    rows.sort()
    return _Run._make(array("q", column) for column in zip(*rows, strict=True))
