"""What more stored events cost: time of storing one, and of /cost over the last window."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import httpx

from bench import systems
from bench.events import Event, Topics, events, send, traces
from bench.results import RUNS, Note, Result, compare_runs, rate
from bench.store import WatchedStore
from lab.ports import free_port
from testing.broker import Broker
from testing.processes import Process

_CHUNK_EVENTS = 100_000
# What each run stores and asks at a size.
_RUN_EVENTS = 50_000
_RUN_QUESTIONS = 5
# A window of 30 s has between 3 and 250 events, and the time of an answer depends on their number.
_WINDOW_EVENTS = 150
_MICROSECONDS = 1_000_000
# Longer than the API caches an answer.
_BETWEEN_QUESTIONS_SECONDS = 1.1
_ANSWER_SECONDS = 60

_UNITS = {"ingest": "µs an event", "cpu": "CPU µs an event", "cost": "ms"}


@dataclass(frozen=True, slots=True)
class _Measured:
    """One run at one size, in _UNITS."""

    ingest: float
    cpu: float
    cost: float


@dataclass(slots=True)
class _Pipeline:
    """One processor, and a store that only grows."""

    broker: Broker
    topics: Topics
    store: WatchedStore
    processor: Process
    api: httpx.Client
    stream: Iterator[Event]
    stored: int = 0

    def grow(self, size: int, note: Note) -> None:
        while self.stored < size:
            note(f"growth to {size:,}: {self.stored:,} stored")
            self._store(list(islice(self.stream, min(size - self.stored, _CHUNK_EVENTS))))
        self.store.check(self.stored, self.processor)

    def measure(self) -> _Measured:
        batch = list(islice(self.stream, _RUN_EVENTS))
        before = self.processor.used()
        events_per_second = self._store(batch)
        cpu_seconds = self.processor.used().cpu_seconds - before.cpu_seconds
        return _Measured(
            _MICROSECONDS / events_per_second,
            cpu_seconds / _RUN_EVENTS * _MICROSECONDS,
            self._ask_cost(batch),
        )

    def _store(self, batch: Sequence[Event]) -> float:
        """Store events, and return how many a second."""
        with self.processor.paused():
            send(self.broker.bootstrap, self.topics, batch)
        self.stored += len(batch)
        return rate(self.store.watch(batch, self.processor))

    def _ask_cost(self, batch: Sequence[Event]) -> float:
        """Milliseconds of an answer over the latest _WINDOW_EVENTS, never one from the cache."""
        times = sorted(json.loads(event.value)["ts"] for event in batch if not event.is_metric)
        window = {"start": times[-_WINDOW_EVENTS]}
        answers = []
        for _ in range(_RUN_QUESTIONS):
            time.sleep(_BETWEEN_QUESTIONS_SECONDS)
            started = time.perf_counter()
            self.api.get("/cost", params=window).raise_for_status()
            answers.append((time.perf_counter() - started) * 1000)
        return median(answers)


def growth(broker: Broker, folder: Path, sizes: Sequence[int], note: Note) -> list[Result]:
    """Each size compared with the smallest."""
    topics = Topics.named("growth")
    broker.make_topics(topics)
    place = folder / "growth"
    place.mkdir()
    port = free_port()
    outcomes: dict[int, list[_Measured]] = {}
    with (
        WatchedStore(place, indexes=True) as store,
        systems.processor(broker.bootstrap, topics, store, place, port) as processor,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_ANSWER_SECONDS) as api,
    ):
        pipeline = _Pipeline(broker, topics, store, processor, api, events(traces(folder)))
        for size in sorted(sizes):
            pipeline.grow(size, note)
            outcomes[size] = []
            for number in range(1, RUNS + 1):
                note(f"run {number} of {RUNS}: at {size:,}")
                outcomes[size].append(pipeline.measure())
    smallest, *others = sorted(sizes)
    return [
        compare_runs(f"growth-{what}-{size}", unit, what, outcomes[size], outcomes[smallest])
        for size in others
        for what, unit in _UNITS.items()
    ]
