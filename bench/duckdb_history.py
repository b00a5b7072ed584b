"""What DuckDB makes of months of raw events: cost by deployment, model and team. Runs in its own environment.

Usage: duckdb_history.py FOLDER USD_PER_HOUR GAP_SECONDS
Makes Parquet of FOLDER's CSV files, and answers a question a line: {"start_us", "end_us", "group_by"} by
{"milliseconds", "rows": [[key, usd], …]}. Hour by hour, a model's tokens pay for its deployment.
"""

import json
import sys
import time
from pathlib import Path

import duckdb  # type: ignore[import-not-found]

_HOUR_US = 3_600_000_000
_NAMES = {"model": "'model-' || model", "team": "team", "deployment": "'serve-' || model"}
# A reading holds for less than an hour, so its time lies in two hours at most. Each model has ten GPUs.
_COST = """
WITH held AS (
  SELECT
    gpu, ts_us AS begins,
    least(lead(ts_us, 1, ts_us + {gap_us}) OVER (PARTITION BY gpu ORDER BY ts_us), ts_us + {gap_us}) AS next
  FROM '{folder}/readings.parquet' WHERE ts_us >= {start_us} - {gap_us} AND ts_us < {end_us}
), cut AS (
  SELECT gpu // 10 AS model, greatest(begins, {start_us}) AS begins, least(next, {end_us}) AS ends FROM held
), parts AS (
  SELECT model, begins // {hour_us} AS hour, least(ends, (hour + 1) * {hour_us}) - begins AS held_us
  FROM cut WHERE ends > begins
  UNION ALL
  SELECT model, ends // {hour_us} AS hour, ends - hour * {hour_us} AS held_us
  FROM cut WHERE ends > begins AND ends // {hour_us} > begins // {hour_us}
), cost AS (
  SELECT model, hour, sum(held_us) * {usd_per_hour} / {hour_us} AS usd FROM parts GROUP BY ALL
), used AS (
  SELECT model, team, ts_us // {hour_us} AS hour, sum(tokens) AS tokens
  FROM '{folder}/usage.parquet' WHERE ts_us >= {start_us} AND ts_us < {end_us} GROUP BY ALL
), shares AS (
  SELECT *, tokens / sum(tokens) OVER (PARTITION BY model, hour) AS share FROM used
)
SELECT {key}, sum(usd * share) FROM shares JOIN cost USING (model, hour) GROUP BY ALL
"""


def main(folder: str, usd_per_hour: str, gap_seconds: str) -> None:
    """On as many cores as there are."""
    database = duckdb.connect()
    place = Path(folder)
    for name in ("readings", "usage"):
        database.execute(f"COPY (FROM '{place / name}.csv') TO '{place / name}.parquet' (FORMAT parquet)")
    print("{}", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        key = ", ".join(_NAMES[name] for name in question["group_by"])
        started = time.perf_counter()
        rows = database.execute(
            _COST.format(
                folder=folder,
                key=key,
                hour_us=_HOUR_US,
                gap_us=int(gap_seconds) * 1_000_000,
                usd_per_hour=usd_per_hour,
                start_us=question["start_us"],
                end_us=question["end_us"],
            )
        ).fetchall()
        milliseconds = (time.perf_counter() - started) * 1000
        answer = {"milliseconds": milliseconds, "rows": [[row[:-1], row[-1]] for row in rows]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
