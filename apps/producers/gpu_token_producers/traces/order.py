"""A trace's rows in order of time, in whatever order the file has them."""

import heapq
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import nullcontext
from typing import BinaryIO, NamedTuple

from gpu_token_contracts import to_us

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.traces.rows import BrokenRow, TraceRow
from gpu_token_producers.traces.trace import Trace

# Rows that are sorted at once.
_RUN_ROWS = 100_000


class _Run(NamedTuple):
    """Some rows in order of time: microseconds, row number, and the byte at which the line begins."""

    ts_us: "array[int]"
    row: "array[int]"
    begin: "array[int]"


class TimeOrder:
    """The rows by time, those of equal times as they stand in the file.

    A file that is in order is read straight through, packed or not. Of any other, 24 bytes a row stay in
    memory. If it is packed, or a line holds several requests, its requests are also written to a temporary
    file, a line each, since only a line that stands alone in a plain file can be read at its place.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._runs: list[_Run] = []
        self._copy: BinaryIO | None = None
        self._begin = 0

    def find(self) -> Iterator[BrokenRow]:
        """Look for the order, once and before `rows`. Gives the rows that can have no place in it.

        Raises ProducerError if there is no room for the temporary file.
        """
        latest = None
        in_order = True
        for row in self._trace.rows("looking for the order of its rows"):
            if isinstance(row, BrokenRow):
                yield row
                continue
            in_order = in_order and (latest is None or latest <= row.ts)
            latest = row.ts
        if in_order:
            return
        if self._trace.is_packed or self._trace.format.split:
            self._copy = _temporary_file()
        try:
            self._runs = list(self._sorted_runs())
        except OSError as error:
            raise _no_room(error) from error

    def rows(self) -> Iterator[TraceRow]:
        """The rows in order of time."""
        if not self._runs:
            yield from (row for row in self._trace.rows() if isinstance(row, TraceRow))
            return
        parse = self._trace.parser()
        with self._trace.path.open("rb") if self._copy is None else nullcontext(self._copy) as file:
            for _, row, begin in heapq.merge(*(zip(*run, strict=True) for run in self._runs)):
                file.seek(begin)
                found = parse(row, file.readline().rstrip(b"\r\n"))
                one = found if isinstance(found, TraceRow) else found[0]
                if isinstance(one, TraceRow):
                    yield one

    def _sorted_runs(self) -> Iterator[_Run]:
        rows: list[tuple[int, int, int]] = []
        with self._trace.open("sorting its rows") as file:
            for row in self._trace.rows_of(self._placed(file)):
                if isinstance(row, TraceRow):
                    rows.append((to_us(row.ts), row.row, self._begin))
                if len(rows) == _RUN_ROWS:
                    yield _sorted_run(rows)
                    rows.clear()
        if rows:
            yield _sorted_run(rows)

    def _placed(self, file: BinaryIO) -> Iterator[bytes]:
        """The lines; `_begin` is where the one that has come last can be read again."""
        if self._copy is None:
            begin = file.tell()
            for line in file:
                self._begin = begin
                yield line
                begin += len(line)
            return
        begin = 0
        for line in file:
            for one in self._requests(line.rstrip(b"\r\n")):
                self._begin = begin
                begin += self._copy.write(one + b"\n")
                yield one

    def _requests(self, body: bytes) -> list[bytes]:
        """The lines of one request that a line is divided into. One that is broken stays as it is."""
        split = self._trace.format.split
        if split is None or not body:
            return [body]
        try:
            return split(body)
        except ValueError:
            return [body]


def _sorted_run(rows: list[tuple[int, int, int]]) -> _Run:
    rows.sort()
    return _Run._make(array("q", column) for column in zip(*rows, strict=True))


def _temporary_file() -> BinaryIO:
    """A file without a name, which is gone when the process ends."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> ProducerError:
    return ProducerError(
        f"The trace's rows are not in order of time, and cannot be sorted by a temporary file in "
        f"{tempfile.gettempdir()}: {error.strerror}. Make room there, or name another folder by TMPDIR."
    )
