"""The rows of /cost by day as Parquet, with types. Needs pyarrow, which images have only if asked for."""

import io
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_token_processor.ledger.written import csv_header

# A row group is written when it has so many rows; days stay whole.
_ROWS = 10_000
_TIME = pa.timestamp("us", tz="UTC")
# A quotient of fifteen digits, all of which a double holds.
_QUOTIENT = pa.float64()
_TYPES = {
    "kind": pa.string(),
    "start": _TIME,
    "end": _TIME,
    # To the last digit.
    "cost_usd": pa.decimal128(38, 12),
    "cost_per_million_tokens_usd": _QUOTIENT,
}


def cost_schema(dimensions: Sequence[str]) -> pa.Schema:
    """The columns of the CSV."""
    types = {**_TYPES, **dict.fromkeys(dimensions, pa.string())}
    return pa.schema([(name, types.get(name, pa.int64())) for name in csv_header(dimensions)])


def parquet_parts(dimensions: Sequence[str], days: Iterable[Iterable[Sequence[object]]]) -> Iterator[bytes]:
    """The file in parts, one for each day and the last; most are empty. For the rows see cost_rows."""
    schema = cost_schema(dimensions)
    sink = io.BytesIO()
    rows: list[Sequence[object]] = []
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for day in days:
            rows += day
            if len(rows) >= _ROWS:
                writer.write_table(_table(schema, rows))
                rows.clear()
            yield _taken(sink)
        if rows:
            writer.write_table(_table(schema, rows))
    yield _taken(sink)


def _table(schema: pa.Schema, rows: Sequence[Sequence[object]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [_array(list(column), kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: list[object], kind: pa.DataType) -> pa.Array:
    if kind == _QUOTIENT:
        values = [None if value is None else float(str(value)) for value in values]
    return pa.array(values, kind)


def _taken(sink: io.BytesIO) -> bytes:
    part = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return part
