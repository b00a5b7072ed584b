"""What every trace is read as, and the reading of single values."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gpu_token_contracts import TimeBounds, bounds, format_ts

# Of one request, for either kind; the contract allows more, for events that cover an interval.
MAX_REQUEST_TOKENS = 100_000_000

_BOUNDS = TimeBounds()
_EARLIEST, _LATEST = _BOUNDS.earliest, _BOUNDS.latest
_MAX_DIGITS = len(str(MAX_REQUEST_TOKENS))
_SHOWN_LENGTH = 40


class TraceRow(NamedTuple):
    """One request: `row` counts the trace's requests from 1, broken ones too; `ts` is UTC.

    None is what the trace does not tell. `session` names a conversation, `workload` a kind of use.
    """

    row: int
    ts: datetime
    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int | None = None
    latency_ms: float | None = None
    model: str | None = None
    session: str | None = None
    workload: str | None = None


class BrokenRow(NamedTuple):
    """A row that cannot be sent; `line` counts the file's lines from 1."""

    line: int
    reason: str


# The functions below raise ValueError with a sentence that names the column and what it holds.


def utc(name: str, cell: bytes | str) -> datetime:
    """A date and time, in UTC where it does not say."""
    text = cell.decode("ascii", "replace") if isinstance(cell, bytes) else cell
    text = text.strip()
    try:
        # fromisoformat would also accept dates without a time, week dates and more.
        if len(text) < 19 or text[4] != "-" or text[7] != "-" or text[10] not in " T" or text[13] != ":":
            raise ValueError
        ts = datetime.fromisoformat(text)
        if ts.tzinfo is None:
            # Several times as fast as datetime.replace.
            ts = datetime.fromisoformat(f"{text}+00:00")
    except ValueError:
        raise ValueError(f"{name} is {shown(cell)}, not a date and time.") from None
    if ts.tzinfo is not UTC:
        raise ValueError(f"{name} is {shown(cell)}, which is not in UTC.")
    if not _EARLIEST <= ts <= _LATEST:
        raise ValueError(_out_of_bounds(name, shown(cell)))
    return ts


def after(start: datetime, name: str, seconds: float, cell: object) -> datetime:
    """The time that lies so many seconds after the start."""
    try:
        ts = start + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        ts = None
    if ts is None or not _EARLIEST <= ts <= _LATEST:
        raise ValueError(_out_of_bounds(name, f"{shown(cell)} after {format_ts(start)}"))
    return ts


def tokens(name: str, cell: bytes | str) -> int:
    """A count of tokens."""
    digits = cell.strip()
    # int() would also accept signs, underscores and the digits of other scripts.
    if digits.isdigit() and digits.isascii() and len(digits) <= _MAX_DIGITS:
        count = int(digits)
        if count <= MAX_REQUEST_TOKENS:
            return count
    raise ValueError(f"{name} is {shown(cell)}, not a whole number from 0 to {MAX_REQUEST_TOKENS}.")


def latency_ms(name: str, milliseconds: float, cell: object) -> float:
    """A latency that the contract accepts."""
    if not 0 <= milliseconds <= bounds.MAX_LATENCY_MS:
        raise ValueError(
            f"{name} is {shown(cell)}, no time from 0 to {bounds.MAX_LATENCY_MS / 1000:g} seconds."
        )
    return milliseconds


def label(name: str, text: str) -> str:
    """A name that the contract accepts."""
    if not 1 <= len(text) <= bounds.MAX_TEXT_LENGTH:
        raise ValueError(f"{name} has {len(text)} characters instead of 1 to {bounds.MAX_TEXT_LENGTH}.")
    return text


def shown(cell: object) -> str:
    """The value as a sentence shows it."""
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    text = text.strip()
    return repr(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…")


def _out_of_bounds(name: str, value: str) -> str:
    return f"{name} is {value}, not between {format_ts(_EARLIEST)} and {format_ts(_LATEST)}."
