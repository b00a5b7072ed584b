"""A trace: a file whose format, content and start are known."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.traces.compression import DAMAGED, damaged, is_packed, open_unpacked
from gpu_token_producers.traces.format import Format, Parse
from gpu_token_producers.traces.formats import UTF8_BOM, UnknownFormatError, format_of
from gpu_token_producers.traces.rows import BrokenRow, TraceRow

# Where times count from 0, and nobody says since when. It is long enough ago that no public trace ends in the
# future.
DEFAULT_START = datetime(2024, 1, 1, tzinfo=UTC)

_ID_DIGITS = 16
_MAX_FIRST_LINE_BYTES = 1 << 26
_PACKED = (".gz", ".zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """`id` is a short hash of the content, wherever it lies and however it is compressed."""

    path: Path
    id: str
    format: Format
    is_packed: bool
    # Of times that count from 0; None: the trace has its own.
    start: datetime | None

    @property
    def name(self) -> str:
        """Of the file, without what tells its kind."""
        return Path(self.path.stem).stem if self.path.suffix in _PACKED else self.path.stem

    def rows(self, doing: str | None = None) -> Iterator[TraceRow | BrokenRow]:
        """The requests in file order; `doing` is what standard error is told of a long reading."""
        with self.open(doing) as file:
            yield from self.rows_of(file)

    def rows_of(self, lines: Iterable[bytes]) -> Iterator[TraceRow | BrokenRow]:
        """The requests in the lines behind the header."""
        parse = self.parser()
        row = 0
        for line_number, line in enumerate(lines, start=1 + self.format.has_header):
            body = line.rstrip(b"\r\n")
            if not body:
                continue
            row += 1
            try:
                found = parse(row, body)
            except ValueError as error:
                yield BrokenRow(line_number, str(error))
                continue
            if isinstance(found, TraceRow):
                yield found
                continue
            # A line without a request is none.
            row += len(found) - 1
            for one in found:
                yield one if isinstance(one, TraceRow) else BrokenRow(line_number, one)

    def parser(self) -> Parse:
        """For one reading of the rows in their order."""
        return self.format.parser(self.start or DEFAULT_START)

    def open(self, doing: str | None = None) -> "io.BufferedReader[Any]":
        """The content behind the header and the mark that some editors write before all."""
        file = open_unpacked(self.path, doing)
        if self.format.has_header:
            file.readline()
        elif file.peek(len(UTF8_BOM)).startswith(UTF8_BOM):
            file.read(len(UTF8_BOM))
        return file


def open_trace(path: Path, start: datetime | None = None) -> Trace:
    """Reads the whole content once. `start` is when times that count from 0 begin.

    Raises ProducerError if the file cannot be read, is damaged or is no trace, or if it has times of its own
    and a start is given.
    """
    try:
        with open_unpacked(path, "reading its content") as file:
            first_line = file.readline(_MAX_FIRST_LINE_BYTES)
            found = format_of(first_line)
            content = hashlib.sha256(first_line)
            while block := file.read(1 << 20):
                content.update(block)
        packed = is_packed(path)
    except DAMAGED as error:
        raise damaged(path, error) from error
    except OSError as error:
        raise ProducerError(f"Trace {path} cannot be read: {error.strerror}.") from error
    except UnknownFormatError as error:
        raise ProducerError(f"{path} is no trace that can be read: {error}") from None
    if start is not None and not found.is_relative:
        raise ProducerError(f"--start is for traces whose times count from 0; {path} has times of its own.")
    return Trace(
        path=path,
        id=content.hexdigest()[:_ID_DIGITS],
        format=found,
        is_packed=packed,
        start=(start or DEFAULT_START) if found.is_relative else None,
    )
