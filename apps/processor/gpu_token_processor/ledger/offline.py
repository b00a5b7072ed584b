"""The ledger over files of JSON lines, without Kafka and without a store."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec
from gpu_token_contracts import (
    Event,
    GpuMetric,
    InvalidEvent,
    TokenUsage,
    decode_gpu_metric,
    decode_token_usage,
    encode,
    moment,
)

from gpu_token_processor.api.cost_answer import cost_answer
from gpu_token_processor.api.models import CostAnswer, Window
from gpu_token_processor.ledger.beside import beside
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.coverage import Coverage, OutOfOrderError
from gpu_token_processor.ledger.exact import US_PER_SECOND, stored_us
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.question import Question
from gpu_token_processor.ledger.sorting import in_order
from gpu_token_processor.ledger.usage import Usage
from gpu_token_processor.selection import Selection

_BLOCK_BYTES = 2**16
# Half a second's work; so long takes a process to start.
_WORTH_A_PROCESS_BYTES = 2**26
# What only a usage event has, as it stands in nearly every line of one.
_USAGE_MARK = b'"prompt_tokens"'
_USAGE_FIELDS = {"prompt_tokens", "completion_tokens", "model"}
_TIME_DIGITS = 20
_EXTRAS = attrgetter("extras")
_UTF8_BOM = b"\xef\xbb\xbf"

Progress = Callable[[int], None]
EventT = TypeVar("EventT", bound=Event)


class BadLineError(ValueError):
    """A line that is no event; the message is one sentence that names file and line."""


class _NotStraightError(Exception):
    """A line that is not what it seems to be."""


class Source(NamedTuple):
    """A file of events, and the name that people know it by."""

    name: str
    path: Path


def answer(
    sources: Iterable[Source],
    book: Book,
    question: Question,
    progress: Progress = lambda _: None,
    price_per_kwh_usd: float | None = None,
) -> CostAnswer:
    """What /cost answers for the same events. Raises BadLineError.

    Files in order of time are read straight through; others are sorted first, on disk.
    `progress` is told the bytes read since it was last told.
    """
    sources = list(sources)
    ledger = Ledger(book, question)
    try:
        ledger.coverage, ledger.usage = _read_straight(sources, book, question, progress)
    except (OutOfOrderError, _NotStraightError):
        coverage = Coverage(book, question.start_us, question.end_us, question.gap_us)
        for event in _sorted(_events(sources)):
            if isinstance(event, TokenUsage):
                ledger.usage.take((event,))
            else:
                coverage.take((event,))
        ledger.coverage = coverage
    ledger.finish()
    return cost_answer(ledger, _window(ledger), Selection(), price_per_kwh_usd)


def _read_straight(
    sources: Sequence[Source], book: Book, question: Question, progress: Progress
) -> tuple[Coverage, Usage]:
    """Readings and usage each by itself, since neither asks for the other.

    If they are many, the readings get a process of their own.
    """
    if sum(source.path.stat().st_size for source in sources) < _WORTH_A_PROCESS_BYTES:
        return _coverage(sources, book, question), _usage(sources, book, question, progress)
    with beside(_coverage, sources, book, question) as found_coverage:
        usage = _usage(sources, book, question, progress)
        return found_coverage(), usage


def _coverage(sources: Iterable[Source], book: Book, question: Question) -> Coverage:
    coverage = Coverage(book, question.start_us, question.end_us, question.gap_us)
    for lines in _blocks(sources, usage=False):
        readings = _decoded(decode_gpu_metric, lines)
        if any(map(_EXTRAS, readings)) and any(_USAGE_MARK in line for line in lines):
            raise _NotStraightError
        coverage.take(readings)
    return coverage


def _usage(sources: Iterable[Source], book: Book, question: Question, progress: Progress) -> Usage:
    usage = Usage(book, question.start_us, question.end_us)
    for lines in _blocks(sources, usage=True, progress=progress):
        usage.take(_decoded(decode_token_usage, lines))
    return usage


def _decoded(decode: Callable[[bytes], EventT], lines: Iterable[bytes]) -> list[EventT]:
    try:
        return [*map(decode, lines)]
    except InvalidEvent:
        pass
    try:
        return [*map(decode, filter(bytes.strip, lines))]
    except InvalidEvent:
        raise _NotStraightError from None


def _blocks(
    sources: Iterable[Source], *, usage: bool, progress: Progress = lambda _: None
) -> Iterator[list[bytes]]:
    """The lines of usage, or the others. To look into every line would take as long as to decode it."""
    for source in sources:
        with source.path.open("rb", buffering=_BLOCK_BYTES) as file:
            ends = {_USAGE_MARK in line for line in _ends(file)}
            if ends == {not usage}:
                progress(file.seek(0, 2))
                continue
            told = 0
            while lines := file.readlines(_BLOCK_BYTES):
                yield lines if len(ends) == 1 else [line for line in lines if (_USAGE_MARK in line) is usage]
                at = file.tell()
                progress(at - told)
                told = at


def _ends(file: BinaryIO) -> list[bytes]:
    """Lines of the file's beginning and of its end."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _BLOCK_BYTES))
    # Perhaps the first is only a part of one.
    last = file.readlines()[1:]
    _to_first_line(file)
    first = file.readlines(_BLOCK_BYTES)
    _to_first_line(file)
    return first + last


def _to_first_line(file: BinaryIO) -> None:
    """Some editors write a mark before it."""
    file.seek(0)
    if file.read(len(_UTF8_BOM)) != _UTF8_BOM:
        file.seek(0)


def _events(sources: Iterable[Source]) -> Iterator[GpuMetric | TokenUsage]:
    for name, path in sources:
        with path.open("rb") as file:
            _to_first_line(file)
            for number, line in enumerate(file, start=1):
                try:
                    yield decode_token_usage(line) if _USAGE_MARK in line else decode_gpu_metric(line)
                except InvalidEvent:
                    if line.strip():
                        yield _look_again(name, number, line)


def _look_again(name: str, number: int, line: bytes) -> GpuMetric | TokenUsage:
    """The event in a line that is not what it seemed to be. Raises BadLineError."""
    try:
        fields = msgspec.json.decode(line)
        is_usage = isinstance(fields, dict) and not _USAGE_FIELDS.isdisjoint(fields)
    except (ValueError, RecursionError):
        is_usage = _USAGE_MARK in line
    try:
        return decode_token_usage(line) if is_usage else decode_gpu_metric(line)
    except InvalidEvent as refused:
        raise BadLineError(f"{name}, line {number}: {refused.message}") from None


def _sorted(events: Iterable[GpuMetric | TokenUsage]) -> Iterator[GpuMetric | TokenUsage]:
    lines = (
        b"%0*d%d%b\n" % (_TIME_DIGITS, stored_us(event.ts), event.__class__ is TokenUsage, encode(event))
        for event in events
    )
    for line in in_order(lines):
        is_usage, event = line[_TIME_DIGITS : _TIME_DIGITS + 1] == b"1", line[_TIME_DIGITS + 1 :]
        yield decode_token_usage(event) if is_usage else decode_gpu_metric(event)


def _window(ledger: Ledger) -> Window:
    question = ledger.question
    everything = question.start_us is None and question.end_us is None
    start_us, end_us = question.start_us, question.end_us
    if ledger.bounds is not None and None in (start_us, end_us):
        start_us, end_us = ledger.bounds
    return Window(
        start=None if start_us is None else moment(start_us),
        end=None if end_us is None else moment(end_us),
        seconds=None if start_us is None or end_us is None else (end_us - start_us) / US_PER_SECOND,
        chosen_by="everything" if everything else "request",
    )
