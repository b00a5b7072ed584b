"""Reads LLM request traces: TIMESTAMP, ContextTokens, GeneratedTokens as CSV.

The shape of the Azure LLM inference traces: no zone (UTC is meant), seven fractional digits,
CRLF or LF, with or without a final newline. A broken row is named and passed over.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gpu_token_contracts import TimeBounds, format_ts

from gpu_token_producers.errors import ProducerError

HEADER = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# Of one request, in either column; the contract allows more, for events that cover an interval.
MAX_REQUEST_TOKENS = 100_000_000

_BOUNDS = TimeBounds()
_UTF8_BOM = b"\xef\xbb\xbf"
_HASH_DIGITS = 16
_MAX_DIGITS = len(str(MAX_REQUEST_TOKENS))
_SHOWN_LENGTH = 40


class TraceRow(NamedTuple):
    """One request: `row` counts data rows from 1, broken ones too; `ts` is UTC."""

    row: int
    ts: datetime
    prompt_tokens: int
    completion_tokens: int


class BrokenRow(NamedTuple):
    """A row that cannot be sent; `line` counts the file's lines from 1."""

    line: int
    reason: str


def trace_id(path: Path) -> str:
    """Short hash of the file's bytes, wherever it lies.

    Raises ProducerError if the file is no trace.
    """
    try:
        with path.open("rb") as file:
            _check_header(path, file.readline())
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_DIGITS]
    except OSError as error:
        raise ProducerError(f"Trace {path} cannot be read: {error.strerror}.") from error


def read_trace(path: Path) -> Iterator[TraceRow | BrokenRow]:
    """The rows of a trace, in file order, without its header."""
    return (row for _, row in read_places(path))


def read_places(path: Path) -> Iterator[tuple[int, TraceRow | BrokenRow]]:
    """The rows in file order, each after the byte at which its line begins."""
    with path.open("rb") as file:
        begin = len(file.readline())
        row = 0
        for line_number, line in enumerate(file, start=2):
            body = line.rstrip(b"\r\n")
            if body:
                row += 1
                try:
                    yield begin, parse_row(row, body)
                except ValueError as error:
                    yield begin, BrokenRow(line_number, str(error))
            begin += len(line)


def parse_row(row: int, body: bytes) -> TraceRow:
    """One line without its end; raises ValueError with a sentence if it is broken."""
    cells = body.split(b",")
    if len(cells) != len(HEADER):
        raise ValueError(f"It has {len(cells)} columns instead of {len(HEADER)}.")
    return TraceRow(
        row, _parse_ts(cells[0]), _parse_tokens(HEADER[1], cells[1]), _parse_tokens(HEADER[2], cells[2])
    )


def _check_header(path: Path, line: bytes) -> None:
    names = tuple(
        cell.strip().decode("utf-8", "replace") for cell in line.removeprefix(_UTF8_BOM).split(b",")
    )
    if names != HEADER:
        raise ProducerError(f"{path} is no trace: its first line must be {','.join(HEADER)}.")


def _parse_ts(cell: bytes) -> datetime:
    text = cell.strip().decode("ascii", "replace")
    try:
        # fromisoformat would also accept dates without a time, week dates and more.
        if len(text) < 19 or text[4] != "-" or text[7] != "-" or text[10] not in " T" or text[13] != ":":
            raise ValueError
        ts = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"TIMESTAMP is {_shown(cell)}, not a date and time.") from None
    if ts.tzinfo is None:
        ts = ts.replace(tzinfo=UTC)
    elif ts.utcoffset():
        raise ValueError(f"TIMESTAMP is {_shown(cell)}, which is not in UTC.")
    if not _BOUNDS.earliest <= ts <= _BOUNDS.latest:
        raise ValueError(
            f"TIMESTAMP is {_shown(cell)}, not between "
            f"{format_ts(_BOUNDS.earliest)} and {format_ts(_BOUNDS.latest)}."
        )
    return ts


def _parse_tokens(name: str, cell: bytes) -> int:
    digits = cell.strip()
    # int() would also accept signs, underscores and the digits of other scripts.
    if not digits.isdigit() or len(digits) > _MAX_DIGITS or int(digits) > MAX_REQUEST_TOKENS:
        raise ValueError(f"{name} is {_shown(cell)}, not a whole number from 0 to {MAX_REQUEST_TOKENS}.")
    return int(digits)


def _shown(cell: bytes) -> str:
    text = cell.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…")
