"""What DuckDB makes of a day: covered time and tokens by GPU and hour. Runs in an environment of its own.

Usage: duckdb_day.py READINGS USAGE END_US
Prints {"covered_us": [[uuid, hour, microseconds], …], "tokens": [[uuid, hour, tokens], …]}.
"""

import json
import sys

import duckdb  # type: ignore[import-not-found]

_HOUR_US = 3_600_000_000
_GAP_US = 30_000_000

# Only the columns that are asked for: DuckDB makes nothing of the others.
_READINGS = "read_json(?, format='newline_delimited', columns={ts: 'TIMESTAMPTZ', uuid: 'VARCHAR'})"
_USAGE = (
    "read_json(?, format='newline_delimited', columns={ts: 'TIMESTAMPTZ', gpu_uuid: 'VARCHAR', "
    "prompt_tokens: 'BIGINT', completion_tokens: 'BIGINT'})"
)
# A reading holds for less than an hour, so its time lies in two hours at most.
_COVERED_US = f"""
WITH held AS (
  SELECT
    uuid,
    epoch_us(ts) AS begins,
    lead(begins, 1, begins + {_GAP_US}) OVER (PARTITION BY uuid ORDER BY ts) AS next,
    least(next, begins + {_GAP_US}, ?) AS ends
  FROM {_READINGS}
), parts AS (
  SELECT uuid, begins // {_HOUR_US} AS hour, least(ends, (hour + 1) * {_HOUR_US}) - begins AS held_us
  FROM held
  UNION ALL
  SELECT uuid, ends // {_HOUR_US} AS hour, ends - hour * {_HOUR_US} AS held_us
  FROM held
  WHERE ends // {_HOUR_US} > begins // {_HOUR_US}
)
SELECT uuid, hour, sum(held_us)::BIGINT FROM parts GROUP BY ALL HAVING sum(held_us) > 0 ORDER BY ALL
"""
_TOKENS = f"""
SELECT gpu_uuid, epoch_us(ts) // {_HOUR_US} AS hour, sum(prompt_tokens + completion_tokens)::BIGINT
FROM {_USAGE} GROUP BY ALL ORDER BY ALL
"""


def main(readings: str, usage: str, end_us: str) -> None:
    """On as many cores as there are."""
    database = duckdb.connect()
    found = {
        "covered_us": database.execute(_COVERED_US, [int(end_us), readings]).fetchall(),
        "tokens": database.execute(_TOKENS, [usage]).fetchall(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
