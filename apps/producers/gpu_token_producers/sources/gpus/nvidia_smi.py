"""The CSV of `nvidia-smi --query-gpu=… --format=csv`, with and without header and units.

Of a card in MIG mode it has one row and no utilization. So the card is one GPU here, and its slices are none:
let only one source watch such a card.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from gpu_token_contracts import GpuMetric

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sources.gpus.hosts import this_host
from gpu_token_producers.sources.gpus.readings import (
    NO_DEPLOYMENTS,
    Deployments,
    Measured,
    Seen,
    index_in,
    reading,
)
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.traces.rows import BrokenRow

TIMESTAMP = "timestamp"
_UUID = ("uuid", "gpu_uuid")
_INDEX = "index"
_NAME = ("name", "gpu_name")
# Of several that measure the same, the first counts.
_MEASURES: Mapping[str, Measured] = {
    "utilization.gpu": "utilization",
    "memory.used": "used_mib",
    "memory.free": "free_mib",
    "memory.reserved": "reserved_mib",
    "memory.total": "total_mib",
    "power.draw": "power_w",
    "power.draw.average": "power_w",
    "power.draw.instant": "power_w",
}
_KNOWN = {TIMESTAMP, _INDEX, *_UUID, *_NAME, *_MEASURES}

# By what a value in this unit is divided. Old drivers write MB for MiB.
_UNITS: Mapping[str, float] = {
    "%": 100.0,
    "KiB": 1024.0,
    "MiB": 1.0,
    "MB": 1.0,
    "GiB": 1 / 1024,
    "W": 1.0,
    "mW": 1000.0,
}
_USUAL_UNIT: Mapping[Measured, str] = {"utilization": "%", "power_w": "W"}
_MEMORY_UNIT = "MiB"

_HEADER_CELL = re.compile(r"(?P<name>[\w.]+)(?: \[(?P<unit>[^\]]*)\])?")
_NUMBER = re.compile(r"(?P<number>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>\S*)", re.ASCII)
_NUMBER_BEGINS = re.compile(r"[+-]?\d", re.ASCII)
_NO_NAME = re.compile(r"\[.*\]|N/A|ERR!", re.IGNORECASE)
_HEX = "[0-9a-f]"
# Whole, since a row that was cut off while it was written must not become a GPU of its own.
_A_UUID = re.compile(
    rf"(?:GPU-|MIG-(?:GPU-)?){_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}(?:/\d+/\d+)?", re.IGNORECASE
)
_SHOWN_LENGTH = 40


class Table(NamedTuple):
    """Columns by position: names as in the query, and units (empty: the usual one)."""

    names: tuple[str, ...]
    units: tuple[str, ...]


class Row(NamedTuple):
    """One GPU at one time; `timestamp` as written, local to the machine, None without such a column."""

    seen: Seen
    timestamp: str | None


def smi_readings(
    text: str,
    target: str,
    at: datetime,
    labels: Labels,
    deployments: Deployments = NO_DEPLOYMENTS,
    columns: Sequence[str] | None = None,
) -> list[GpuMetric | BrokenRow]:
    """A reading of each row, of the time `at`, which needs a zone; a broken row is named by its line.

    `columns` are the names of the query, if the text has no header. `deployments` says by uuid what a GPU
    serves. Raises ProducerError if there is neither header nor `columns`, or no column that names the GPU.
    """
    host = labels.host or this_host()
    found: list[GpuMetric | BrokenRow] = []
    for row in rows(text.splitlines(), host, target, columns):
        if isinstance(row, BrokenRow):
            found.append(row)
        else:
            found.append(reading(row[1].seen, target, at, labels, deployments))
    return found


def rows(
    lines: Iterable[str],
    host: str | None,
    source: str,
    columns: Sequence[str] | None = None,
    remedy: str = "It must be the CSV that nvidia-smi --query-gpu prints.",
) -> Iterator[tuple[int, Row] | BrokenRow]:
    """The rows with their lines, counted from 1; empty lines and further headers are passed over.

    Raises ProducerError, which names the `source`, as smi_readings does; `remedy` helps against no header.
    """
    table = _table_of(columns, source) if columns is not None else None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], quoting=csv.QUOTE_NONE))]
            header = _header(cells)
            if header is not None:
                # Of a log to which a later run has appended, maybe with other columns.
                table = _checked(header, source)
                continue
            if table is None:
                raise ProducerError(
                    f"{source} has no header: its first line is {_shown(line.strip())}. {remedy}"
                )
            yield number, _row(cells, table, host)
        except (ValueError, csv.Error) as error:
            yield BrokenRow(number, str(error))


def _table_of(columns: Sequence[str], source: str) -> Table:
    cells = [column.strip() for column in columns]
    header = _header(cells)
    if header is None:
        raise ProducerError(
            f"The columns of {source} are {','.join(cells)!r}, and none of them is known: "
            "give the names that --query-gpu had."
        )
    return _checked(header, source)


def _checked(table: Table, source: str) -> Table:
    if not {_INDEX, *_UUID} & set(table.names):
        raise ProducerError(
            f"{source} does not name its GPUs: it has the columns {','.join(table.names)!r}. "
            "Add uuid to --query-gpu."
        )
    return table


def _header(cells: Sequence[str]) -> Table | None:
    """The columns, if this is a header: no row has the name of a column as a value."""
    parsed = [_HEADER_CELL.fullmatch(cell) for cell in cells]
    names = tuple(found["name"].lower() if found else cell for found, cell in zip(parsed, cells, strict=True))
    if not _KNOWN & set(names):
        return None
    return Table(names, tuple((found["unit"] if found else None) or "" for found in parsed))


def _row(cells: Sequence[str], table: Table, host: str | None) -> Row:
    if len(cells) != len(table.names):
        raise ValueError(f"It has {len(cells)} columns instead of {len(table.names)}.")
    named = dict(zip(table.names, cells, strict=True))
    uuid = next((named[name] for name in _UUID if name in named), None)
    if uuid is not None and not _A_UUID.fullmatch(uuid):
        raise ValueError(f"uuid is {_shown(uuid)}, not a GPU's.")
    index = index_in(named.get(_INDEX))
    if uuid is None and index is None:
        raise ValueError(f"index is {_shown(named.get(_INDEX, ''))}, not a number.")
    name = next((named[column] for column in _NAME if column in named), None)
    seen = Seen(uuid, host, index, name=None if name is None or _NO_NAME.fullmatch(name) else name)
    for column, measured in _MEASURES.items():
        if column in named:
            value = _value(column, named[column], table.units[table.names.index(column)], measured)
            if value is not None:
                seen.measure(measured, value)
    return Row(seen, named.get(TIMESTAMP))


def _value(column: str, cell: str, header_unit: str, measured: Measured) -> float | None:
    """The number in the unit of what is measured; None for each of the words that say that there is none."""
    if not _NUMBER_BEGINS.match(cell):
        # [N/A], N/A, ERR!, [Unknown Error]: they change with the driver, and none begins like a number.
        return None
    found = _NUMBER.fullmatch(cell)
    unit = (found["unit"] if found else "") or header_unit or _USUAL_UNIT.get(measured, _MEMORY_UNIT)
    if found is None or unit not in _UNITS:
        raise ValueError(f"{column} is {_shown(cell)}, not a number.")
    return float(found["number"]) / _UNITS[unit]


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…")
