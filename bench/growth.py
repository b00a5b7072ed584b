"""What more stored events cost: time of storing one, and of /cost over the last window."""

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import httpx

from bench import systems
from bench.broker import Broker
from bench.events import Topics, events, send, traces
from bench.processes import free_port
from bench.results import RUNS, Note, Result, compare, rate
from bench.store import Store

_CHUNK_EVENTS = 100_000
# Of the smallest size: what each run stores and measures there.
_RUN_SHARE = 0.02
_MICROSECONDS = 1_000_000
# Longer than the API keeps an answer.
_BETWEEN_QUESTIONS_SECONDS = 1.1


def growth(broker: Broker, folder: Path, sizes: Sequence[int], note: Note) -> list[Result]:
    """Each size beside the smallest."""
    topics = Topics.named("growth")
    broker.make_topics(topics)
    place = folder / "growth"
    place.mkdir()
    port = free_port()
    ingest: dict[int, list[float]] = {}
    cpu: dict[int, list[float]] = {}
    cost: dict[int, list[float]] = {}
    stream = events(traces(folder))
    each = round(min(sizes) * _RUN_SHARE)
    with (
        Store(place, indexes=True) as store,
        systems.processor(broker.bootstrap, topics, store, place, port) as processor,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as api,
    ):
        for size in sorted(sizes):
            while (missing := size - store.events()) > 0:
                note(f"growth to {size:,}: {store.events():,} stored")
                send(broker.bootstrap, topics, list(islice(stream, min(missing, _CHUNK_EVENTS))))
                store.watch(size - missing + min(missing, _CHUNK_EVENTS), processor)
            ingest[size], cpu[size], cost[size] = [], [], []
            for number in range(1, RUNS + 1):
                note(f"run {number} of {RUNS}: at {size:,}")
                batch = list(islice(stream, each))
                before = processor.used()
                stored = store.events()
                send(broker.bootstrap, topics, batch)
                samples = store.watch(stored + each, processor)
                ingest[size].append(_MICROSECONDS / rate(samples))
                cpu[size].append((processor.used().cpu_seconds - before.cpu_seconds) / each * _MICROSECONDS)
                cost[size].append(_ask_cost(api))
    smallest = min(sizes)
    return [
        compare(f"growth-{what}-{size}", unit, values[size], values[smallest])
        for size in sorted(sizes)[1:]
        for what, unit, values in (
            ("ingest", "µs an event", ingest),
            ("cpu", "CPU µs an event", cpu),
            ("cost", "ms", cost),
        )
    ]


def _ask_cost(api: httpx.Client) -> float:
    """Milliseconds of one answer that is computed anew."""
    time.sleep(_BETWEEN_QUESTIONS_SECONDS)
    started = time.perf_counter()
    api.get("/cost").raise_for_status()
    return (time.perf_counter() - started) * 1000
