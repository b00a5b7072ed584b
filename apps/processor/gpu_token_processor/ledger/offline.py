"""The ledger over files of JSON lines, without Kafka and without a store."""

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import msgspec
from gpu_token_contracts import (
    GpuMetric,
    InvalidEvent,
    TokenUsage,
    decode_gpu_metric,
    decode_token_usage,
    encode,
)

from gpu_token_processor.api.cost_answer import cost_answer
from gpu_token_processor.api.models import CostAnswer, Window
from gpu_token_processor.ledger.answer import moment
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.coverage import OutOfOrderError
from gpu_token_processor.ledger.exact import US_PER_SECOND, stored_us
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.question import Question
from gpu_token_processor.ledger.sorting import in_order
from gpu_token_processor.selection import Selection

_LINES_BETWEEN_REPORTS = 20_000
# What only a usage event has, as it stands in nearly every line of one.
_USAGE_MARK = b'"prompt_tokens"'
_USAGE_FIELDS = {"prompt_tokens", "completion_tokens", "model"}
_TIME_DIGITS = 20

Progress = Callable[[int], None]


class BadLineError(ValueError):
    """A line that is no event; the message is one sentence that names file and line."""


class Source(NamedTuple):
    """A file of events that can be read twice, under the name that people know it by."""

    name: str
    file: BinaryIO


def answer(
    sources: Iterable[Source], book: Book, question: Question, progress: Progress = lambda _: None
) -> CostAnswer:
    """What /cost answers for the same events. Raises BadLineError.

    Files in order of time are read straight through; others are sorted first, on disk.
    `progress` is told the bytes read since it was last told.
    """
    sources = list(sources)
    ledger = Ledger(book, question)
    try:
        _take(ledger, _events(sources, progress))
    except OutOfOrderError:
        for source in sources:
            source.file.seek(0)
        ledger = Ledger(book, question)
        _take(ledger, _sorted(_events(sources, lambda _: None)))
    ledger.finish()
    return cost_answer(ledger, _window(ledger), Selection(), None)


def _take(ledger: Ledger, events: Iterable[GpuMetric | TokenUsage]) -> None:
    add_reading, add_usage = ledger.add_reading, ledger.add_usage
    for event in events:
        if isinstance(event, TokenUsage):
            add_usage(event)
        else:
            add_reading(event)


def _events(sources: Iterable[Source], progress: Progress) -> Iterator[GpuMetric | TokenUsage]:
    for name, file in sources:
        unreported = 0
        for number, line in enumerate(file, start=1):
            unreported += len(line)
            if not number % _LINES_BETWEEN_REPORTS:
                progress(unreported)
                unreported = 0
            try:
                yield decode_token_usage(line) if _USAGE_MARK in line else decode_gpu_metric(line)
            except InvalidEvent:
                if line.strip():
                    yield _look_again(name, number, line)
        progress(unreported)


def _look_again(name: str, number: int, line: bytes) -> GpuMetric | TokenUsage:
    """The event in a line that is not what it seemed to be. Raises BadLineError."""
    try:
        fields = msgspec.json.decode(line)
        is_usage = isinstance(fields, dict) and not _USAGE_FIELDS.isdisjoint(fields)
    except ValueError:
        is_usage = False
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
    start_us, end_us = ledger.bounds or (question.start_us, question.end_us)
    return Window(
        start=None if start_us is None else moment(start_us),
        end=None if end_us is None else moment(end_us),
        seconds=None if start_us is None or end_us is None else (end_us - start_us) / US_PER_SECOND,
        chosen_by="everything" if everything else "request",
    )
