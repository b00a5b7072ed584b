"""From produce to readable: how long after an event was sent the API counts it."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from confluent_kafka import Producer
from gpu_token_contracts import TokenUsage, encode, format_ts, usage_key
from gpu_token_producers.sender import kafka_config

from bench import systems
from bench.errors import BenchError
from bench.events import Topics
from bench.results import RUNS, Note, Result, compare, percentile
from bench.store import WatchedStore
from lab.ports import free_port
from testing.broker import Broker
from testing.processes import Process

_PAIRS_PER_SECOND = 500
_RUN_SECONDS = 20
_SETTLE_SECONDS = 3
_BETWEEN_PROBES_SECONDS = 0.05
_ASK_AGAIN_SECONDS = 0.005
_GIVE_UP_SECONDS = 30
_GOAL_MS = 250.0
_BUFFER_EVENTS = 100_000


def latency(broker: Broker, folder: Path, note: Note) -> list[Result]:
    """p50 and p99 compared with the goal, at 1,000 events a second from this project's producer."""
    topics = Topics.named("latency")
    broker.make_topics(topics)
    port = free_port()
    place = folder / "latency"
    place.mkdir()
    runs = []
    with (
        WatchedStore(place, indexes=True) as store,
        systems.processor(broker.bootstrap, topics, store, place, port) as processor,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_GIVE_UP_SECONDS) as api,
        _load(broker, topics, place) as load,
    ):
        processor.wait_for(lambda: _answers(api), "the API answers")
        settled = _SETTLE_SECONDS * 2 * _PAIRS_PER_SECOND
        processor.wait_for(lambda: store.events() >= settled, f"{settled} events are stored")
        for number in range(1, RUNS + 1):
            note(f"run {number} of {RUNS}: latency")
            runs.append([seconds * 1000 for seconds in _probe(broker, topics.token, api, f"run-{number}")])
            load.check()
    return [
        compare(name, "ms", [percentile(run, share) for run in runs], [_GOAL_MS] * RUNS)
        for name, share in (("latency-p50", 0.5), ("latency-p99", 0.99))
    ]


def _load(broker: Broker, topics: Topics, folder: Path) -> Process:
    options = {
        "bootstrap": broker.bootstrap,
        "topic-metric": topics.metric,
        "topic-token": topics.token,
        "pairs-per-second": str(_PAIRS_PER_SECOND),
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    return Process("producers", [sys.executable, "-m", "gpu_token_producers", "generate", *arguments], folder)


def _probe(broker: Broker, topic: str, api: httpx.Client, run: str) -> Iterator[float]:
    """Seconds that each of many single events took. Each event names another model."""
    producer = Producer(kafka_config(broker.bootstrap, _BUFFER_EVENTS))
    ends = time.monotonic() + _RUN_SECONDS
    number = 0
    while time.monotonic() < ends:
        number += 1
        usage = TokenUsage(
            ts=datetime.now(UTC),
            event_id=f"{run}:{number}",
            model=f"probe-{run}-{number}",
            host="probe",
            prompt_tokens=1,
            completion_tokens=1,
            latency_ms=1,
            gpu_index=0,
        )
        sent = time.monotonic()
        producer.produce(topic, encode(usage), usage_key(usage))
        producer.poll(0)
        _wait_until_counted(api, usage, sent + _GIVE_UP_SECONDS)
        yield time.monotonic() - sent
        time.sleep(_BETWEEN_PROBES_SECONDS)
    producer.flush(_GIVE_UP_SECONDS)


def _wait_until_counted(api: httpx.Client, usage: TokenUsage, deadline: float) -> None:
    """Asks another question each time, since the API caches an answer for a second."""
    start = usage.ts
    while time.monotonic() < deadline:
        start -= timedelta(milliseconds=1)
        answer = api.get("/usage", params={"model": usage.model, "start": format_ts(start)})
        if answer.raise_for_status().json()["totals"]["events"]:
            return
        time.sleep(_ASK_AGAIN_SECONDS)
    raise BenchError(f"Event {usage.event_id} was not readable within {_GIVE_UP_SECONDS} seconds.")


def _answers(api: httpx.Client) -> bool:
    try:
        return api.get("/health/live").is_success
    except httpx.TransportError:
        return False
