"""Recorded output of `nvidia-smi --query-gpu=timestamp,… --format=csv -l 1`, read row by row."""

import codecs
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gpu_token_contracts import GpuMetric, TimeBounds, format_ts

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sources.gpus.nvidia_smi import TIMESTAMP, Row, rows
from gpu_token_producers.sources.gpus.readings import NO_DEPLOYMENTS, Deployments, reading
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.traces.compression import DAMAGED, damaged, open_unpacked
from gpu_token_producers.traces.rows import BrokenRow

# With and without milliseconds.
_FORMATS = ("%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S")
_BOUNDS = TimeBounds()
_TARGET = "nvidia-smi log"
_NO_HEADER = "Name its columns: --columns timestamp,index,uuid,utilization.gpu, or what --query-gpu had."
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def log_lines(path: Path) -> Iterator[str]:
    """The lines of a log, unpacked where it is packed. UTF-8, or UTF-16 as PowerShell redirects write it.

    Raises ProducerError if it cannot be read or is an archive; the lines do so where it is damaged.
    """
    with _sentences(path):
        content = open_unpacked(path)
        is_utf16 = content.peek(2).startswith(_UTF16_MARKS)
    return _lines(path, io.TextIOWrapper(content, "utf-16" if is_utf16 else "utf-8-sig", errors="replace"))


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    with _sentences(path), text:
        yield from text


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise damaged(path, error, "Log") from error
    except OSError as error:
        raise ProducerError(f"Log {path} cannot be read: {error.strerror}.") from error


def log_readings(
    lines: Iterable[str],
    zone: ZoneInfo | None,
    labels: Labels,
    source: str,
    deployments: Deployments = NO_DEPLOYMENTS,
    columns: Sequence[str] | None = None,
) -> Iterator[GpuMetric | BrokenRow]:
    """A reading of each row, in the log's order; a broken row is named by its line and passed over.

    `zone` is that of the machine's clock, since the log does not say it. A row of the hour that its clocks
    had twice, or did not have, is broken: nobody can tell when it was. `columns` are the names of the query,
    if the log has no header. The same rows give the same events, whatever the file is called; `source` names
    it in sentences. Raises ProducerError without a zone, a column of times, or one that names the GPU.
    """
    if zone is None:
        raise ProducerError(
            f"{source} has local times, and nothing says of which zone: name that of the machine's clock, "
            "such as Europe/Berlin or UTC."
        )
    return _read(lines, zone, labels, source, deployments, columns)


def _read(
    lines: Iterable[str],
    zone: ZoneInfo,
    labels: Labels,
    source: str,
    deployments: Deployments,
    columns: Sequence[str] | None,
) -> Iterator[GpuMetric | BrokenRow]:
    for found in rows(lines, labels.host, source, columns, _NO_HEADER):
        if isinstance(found, BrokenRow):
            yield found
            continue
        line, row = found
        try:
            at = _time(row, zone, source)
        except ValueError as error:
            yield BrokenRow(line, str(error))
        else:
            yield reading(row.seen, _TARGET, at, labels, deployments)


def _time(row: Row, zone: ZoneInfo, source: str) -> datetime:
    if row.timestamp is None:
        raise ProducerError(f"{source} does not say when: it has no column timestamp. Add it to --query-gpu.")
    at = utc(_local(row.timestamp), zone)
    if not _BOUNDS.earliest <= at <= _BOUNDS.latest:
        raise ValueError(
            f"{TIMESTAMP} is {row.timestamp!r}, not between "
            f"{format_ts(_BOUNDS.earliest)} and {format_ts(_BOUNDS.latest)}."
        )
    return at


def _local(text: str) -> datetime:
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise ValueError(f"{TIMESTAMP} is {text[:40]!r}, not YYYY/MM/DD HH:MM:SS.mmm.")


def utc(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which a clock in that zone shows this time.

    Raises ValueError if it shows it twice or never, since clocks are changed.
    """
    try:
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        raise ValueError(f"{TIMESTAMP} is {local}, which no calendar here has.") from None
    if first.astimezone(zone).replace(tzinfo=None) != local:
        raise ValueError(
            f"{TIMESTAMP} is {local}, which no clock in {zone.key} shows: the log is of another zone."
        )
    if first != second:
        raise ValueError(
            f"{TIMESTAMP} is {local}, which clocks in {zone.key} show twice that day, so nobody can tell "
            "when it was: record with TZ=UTC."
        )
    return first
