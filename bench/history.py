"""How long answers over months take, beside DuckDB over raw events, which must say the same; and the page.

Thirteen months of 100 GPUs, 10 models and 5 teams. Each hour's events are made, written for DuckDB, counted
by the product's code and forgotten: the store holds only what has been counted and shared. A GPU has one
reading in five minutes, fewer than any exporter gives: DuckDB's work grows with them, and ours does not.
"""

import json
import random
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import httpx
from gpu_token_contracts import GpuMetric, TokenUsage
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.catalog_store import apply
from gpu_token_processor.ledger.exact import US_PER_HOUR, US_PER_SECOND, stored_us
from gpu_token_processor.retention import Retention
from gpu_token_processor.rollups.bucket import count_hour, pack
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.rollups.sharing import Sharing
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import Counted, MongoRollups
from pymongo import MongoClient

from bench import systems
from bench.errors import BenchError
from bench.events import Topics
from bench.parts import duckdb_python
from bench.results import RUNS, Note, Result, compare
from bench.store import WatchedStore
from lab.ports import free_port
from testing.broker import Broker
from testing.page import Viewer, chromium
from testing.parts import ROOT
from testing.store import DATABASE

_START = datetime(2025, 1, 1, tzinfo=UTC)
_END = datetime(2026, 2, 1, tzinfo=UTC)
_MONTH = datetime(2025, 7, 1, tzinfo=UTC), datetime(2025, 8, 1, tzinfo=UTC)
_GPUS, _MODELS, _TEAMS = 100, 10, 5
_GPU_NAME = "NVIDIA H100 80GB HBM3"
_USD_PER_HOUR = 4
_READING_SECONDS, _USAGE_SECONDS = 300, 360
_RETENTION = Retention(3_650, timedelta(seconds=_READING_SECONDS))
_DEFAULT_USD_PER_HOUR = "0.85"
# A different one each time, so that no answer is in a cache.
_GROUPS = ("model,team", "team", "model", "deployment", "team,model")
_ANSWER_SECONDS = 60
_MONTH_GOAL_MS, _WHOLE_GOAL_MS, _PAINT_GOAL_MS = 300.0, 1_000.0, 1_000.0
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
# DuckDB counts in floats.
_TOLERANCE = 1e-9

Rows = dict[tuple[str, ...], float]


class _Range(NamedTuple):
    name: str
    start: datetime
    end: datetime
    goal_ms: float


_RANGES = (
    _Range("a-month", *_MONTH, _MONTH_GOAL_MS),
    _Range("13-months", _START, _END, _WHOLE_GOAL_MS),
)


def history(broker: Broker, folder: Path, note: Note) -> list[Result]:
    """/cost over a month and over all months, in turns with DuckDB."""
    place = folder / "history"
    place.mkdir()
    topics = Topics.named("history")
    broker.make_topics(topics)
    port = free_port()
    gap = {"METRIC_GAP_SECONDS": str(_READING_SECONDS), "PRICE_PER_HOUR_USD": _DEFAULT_USD_PER_HOUR}
    ours: dict[str, list[float]] = {one.name: [] for one in _RANGES}
    theirs: dict[str, list[float]] = {one.name: [] for one in _RANGES}
    with WatchedStore(place, indexes=True) as store:
        _fill(store.url, place, note)
        with (
            systems.processor(broker.bootstrap, topics, store, place, port, gap) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_ANSWER_SECONDS) as api,
            _DuckDB(place, note) as duckdb,
        ):
            process.wait_for(lambda: _is_up(api), "the processor answers")
            for run, group_by in enumerate(_GROUPS[:RUNS], start=1):
                for asked in _RANGES:
                    note(f"run {run} of {RUNS}: {asked.name} by {group_by}")
                    our_ms, our_rows = _ask(api, asked, group_by)
                    their_ms, their_rows = duckdb.ask(asked, group_by)
                    _require_equal(our_rows, their_rows)
                    ours[asked.name].append(our_ms)
                    theirs[asked.name].append(their_ms)
            paints = _first_paints(port, note)
    results = [compare("page-first-paint", "ms", paints, [_PAINT_GOAL_MS] * RUNS)]
    for asked in _RANGES:
        goal = [asked.goal_ms] * RUNS
        results.append(compare(f"cost-over-{asked.name}", "ms", ours[asked.name], goal))
        results.append(
            compare(f"cost-over-{asked.name}-vs-duckdb", "ms", ours[asked.name], theirs[asked.name])
        )
    growth = compare("cost-growth-13-months-vs-one", "ms", ours["13-months"], ours["a-month"])
    return [*results, growth]


class _DuckDB:
    """A process that answers the same questions over Parquet files."""

    def __init__(self, place: Path, note: Note) -> None:
        note("writing Parquet")
        script = [str(duckdb_python()), str(ROOT / "bench" / "duckdb_history.py")]
        command = [*script, str(place), str(_USD_PER_HOUR), str(_READING_SECONDS)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "_DuckDB":
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, asked: _Range, group_by: str) -> tuple[float, Rows]:
        """Milliseconds and rows."""
        question = {
            "start_us": stored_us(asked.start),
            "end_us": stored_us(asked.end),
            "group_by": group_by.split(","),
        }
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        answer = self._read()
        return answer["milliseconds"], {tuple(key): usd for key, usd in answer["rows"]}

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("DuckDB has ended: see its message above.")
        return json.loads(line)


def _first_paints(port: int, note: Note) -> list[float]:
    """When the page that is about all of the months shows something first; each time without a cache."""
    note("the page in Chromium")
    days = f"start={_START:%Y-%m-%d}&end={_END - timedelta(days=1):%Y-%m-%d}"
    paints = []
    with chromium() as browser:
        for _ in range(RUNS):
            viewer = Viewer(browser, f"http://127.0.0.1:{port}").open(f"?range=custom&{days}")
            paints.append(float(viewer.page.evaluate(_FIRST_PAINT)))
            viewer.close()
    return paints


def _is_up(api: httpx.Client) -> bool:
    try:
        return api.get("/health/live").is_success
    except httpx.TransportError:
        return False


def _ask(api: httpx.Client, asked: _Range, group_by: str) -> tuple[float, Rows]:
    bounds = {"start": asked.start.isoformat(), "end": asked.end.isoformat(), "group_by": group_by}
    started = time.perf_counter()
    answer = api.get("/cost", params=bounds).raise_for_status().json()
    milliseconds = (time.perf_counter() - started) * 1000
    if answer["coverage"]["read_from"] != "rollups":
        raise BenchError(f"The answer was read from {answer['coverage']['read_from']}: see _fill().")
    names = group_by.split(",")
    return milliseconds, {
        tuple(row["key"][name] for name in names): float(row["cost_usd"]) for row in answer["rows"]
    }


def _require_equal(ours: Rows, theirs: Rows) -> None:
    if ours.keys() != theirs.keys() or any(
        abs(usd - theirs[key]) > _TOLERANCE * abs(theirs[key]) for key, usd in ours.items()
    ):
        raise BenchError(f"The answers differ: {ours} and {theirs}.")


def _fill(url: str, place: Path, note: Note) -> None:
    catalog = _catalog()
    with (
        MongoClient[dict[str, object]](url, tz_aware=True) as client,
        (place / "readings.csv").open("w") as readings_file,
        (place / "usage.csv").open("w") as usage_file,
    ):
        _write(readings_file, [("ts_us", "gpu")])
        _write(usage_file, [("ts_us", "model", "team", "tokens")])
        apply(client[DATABASE], catalog, datetime.now(UTC))
        hours = MongoRollups(client, DATABASE, _RETENTION)
        first, upto = (stored_us(bound) // US_PER_HOUR for bound in (_START, _END))
        book = Book(catalog, Fraction(_DEFAULT_USD_PER_HOUR))
        for hour in range(first, upto):
            start = datetime.fromtimestamp(hour * 3_600, UTC)
            if start.day == 1 and start.hour == 0:
                note(f"counting {start:%B %Y}")
            readings, usage = [*_readings(start)], [*_usage(start)]
            # Those of before the hour were written with the hour before.
            own = [one for one in readings if one.ts >= start or start == _START]
            _write(readings_file, ((stored_us(one.ts), _number(one)) for one in own))
            _write(usage_file, (_numbers(one) for one in usage))
            bucket = pack(count_hour(hour, readings, usage, book, _READING_SECONDS * US_PER_SECOND))
            _keep(hours, hour, Counted(hour, catalog.version, *bucket[1:]))
        note("sharing days")
        _share(hours, MongoReads(client, DATABASE))


def _share(hours: MongoRollups, reads: MongoReads) -> None:
    gap_us = _READING_SECONDS * US_PER_SECOND
    sharing = Sharing(hours, reads, gap_us, Fraction(_DEFAULT_USD_PER_HOUR), Pace(1))
    sharing.look_around()
    while sharing.share_one():
        pass


def _keep(hours: MongoRollups, hour: int, counted: Counted) -> None:
    now = datetime.now(UTC)
    hours.mark([hour])
    claim = hours.claim(now)
    assert claim is not None
    hours.publish(claim, counted, now)
    assert hours.clear(claim)


def _write(file: TextIO, rows: Iterable[Sequence[object]]) -> None:
    file.writelines(",".join(map(str, row)) + "\n" for row in rows)


def _readings(start: datetime) -> Iterator[GpuMetric]:
    rng = random.Random(start.timestamp())
    for second in range(-_READING_SECONDS, 3_600, _READING_SECONDS):
        ts = start + timedelta(seconds=second)
        for gpu in range(_GPUS):
            yield GpuMetric(
                ts=ts,
                uuid=_uuid(gpu),
                host=f"node-{gpu // 8:02}",
                gpu_index=gpu % 8,
                name=_GPU_NAME,
                utilization=rng.random(),
                power_w=rng.uniform(100, 700),
            )


def _usage(start: datetime) -> Iterator[TokenUsage]:
    rng = random.Random(start.timestamp() + 1)
    for second in range(0, 3_600, _USAGE_SECONDS):
        for model in range(_MODELS):
            for team in range(_TEAMS):
                yield TokenUsage(
                    ts=start + timedelta(seconds=second, milliseconds=model * 10 + team),
                    model=f"model-{model}",
                    prompt_tokens=rng.randrange(10_000),
                    completion_tokens=rng.randrange(1_000),
                    team=f"team-{team}",
                )


def _number(reading: GpuMetric) -> int:
    assert reading.uuid is not None
    return int(reading.uuid[-12:])


def _numbers(event: TokenUsage) -> tuple[object, ...]:
    tokens = event.prompt_tokens + event.completion_tokens
    return stored_us(event.ts), event.model.removeprefix("model-"), event.team, tokens


def _uuid(gpu: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{gpu:012}"


def _catalog() -> Catalog:
    """Each model has its GPUs: the n-th model the n-th ten."""
    each = _GPUS // _MODELS
    deployments = [
        {
            "id": f"serve-{model}",
            "models": [f"model-{model}"],
            "gpus": [_uuid(gpu) for gpu in range(model * each, (model + 1) * each)],
        }
        for model in range(_MODELS)
    ]
    prices = [{"selector": {"gpu_name": _GPU_NAME}, "usd_per_hour": _USD_PER_HOUR}]
    return parse_catalog({"deployments": deployments, "prices": prices})
