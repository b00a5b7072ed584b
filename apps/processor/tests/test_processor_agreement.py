"""The answers do not depend on the number of processors or on the speed of the events."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gpu_token_contracts import GpuMetric, TokenUsage, encode
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.replay import ReplayPlan, replay_events
from gpu_token_producers.traces.trace import open_trace
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN
from processor_kafka import MockKafka
from processor_mongo import database
from processor_process import Process
from pymongo import MongoClient

from testing.waiting import until

WAIT_SECONDS = 120
EXCERPT = Path(__file__).parents[2] / "producers" / "tests" / "data" / "azure-llm-2023-code-excerpt.csv"
# Row 13 follows 28 s of silence; there are requests in each of the next seconds.
FIRST_ROW, TRACE_SECONDS = 13, 6
METRICS_INTERVAL_SECONDS = 0.5


class Trace(NamedTuple):
    """A part of a real trace that can be sent as fast as it happened."""

    path: Path
    start: datetime
    events: list[TokenUsage | GpuMetric]

    def count(self, event_type: type) -> int:
        return sum(isinstance(event, event_type) for event in self.events)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    header, *rows = EXCERPT.read_text().splitlines()
    rows = rows[FIRST_ROW - 1 :]
    start = datetime.fromisoformat(rows[0][:19]).replace(tzinfo=UTC)
    end = f"{start + timedelta(seconds=TRACE_SECONDS):%Y-%m-%d %H:%M:%S}"
    path = tmp_path_factory.mktemp("trace") / "six-seconds.csv"
    path.write_text("\n".join([header, *(row for row in rows if row < end)]))
    plan = ReplayPlan(
        trace=open_trace(path),
        model="code",
        host="gpu-a",
        gpus=load_gpus(BUILT_IN_SEED),
        metrics_interval_seconds=METRICS_INTERVAL_SECONDS,
    )
    return Trace(
        path, start, [event for event in replay_events(plan) if isinstance(event, TokenUsage | GpuMetric)]
    )


class Stored(NamedTuple):
    """A database of the store."""

    url: str
    name: str

    def holds(self, trace: Trace) -> bool:
        with MongoClient[dict[str, Any]](self.url) as client:
            counts = [client[self.name][name].count_documents({}) for name in ("token_usage", "gpu_metrics")]
        return counts == [trace.count(TokenUsage), trace.count(GpuMetric)]


@pytest.fixture
def two_databases(mongo_url: str) -> Iterator[tuple[Stored, Stored]]:
    with database(mongo_url) as one, database(mongo_url) as other:
        yield Stored(mongo_url, one), Stored(mongo_url, other)


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with MockKafka() as made:
        yield made


def processor(kafka: MockKafka, stored: Stored, **settings: str) -> Process:
    return Process(
        KAFKA_BOOTSTRAP=kafka.bootstrap,
        MONGO_URL=stored.url,
        MONGO_DATABASE=stored.name,
        # Shorter than the trace, so that it matters what they hold.
        WINDOW_SECONDS="3",
        METRIC_GAP_SECONDS="2",
        PRICE_PER_KWH_USD="0.2",
        **settings,
    )


def assigned(process: Process) -> int:
    partitions: int = process.answer("/health")["consumer"]["assigned_partitions"]
    return partitions


def answers(process: Process, start: datetime) -> dict[str, Any]:
    """Over everything, over the window, and over each second of the trace."""
    found = {path: process.answer(path) for path in ("/usage", "/cost", "/throughput")}
    for second in range(TRACE_SECONDS):
        begins = start + timedelta(seconds=second)
        bounds = {"start": begins.isoformat(), "end": (begins + timedelta(seconds=1)).isoformat()}
        for path in ("/usage", "/cost", "/throughput"):
            found[f"{path} {second}"] = process.answer(path, **bounds)
    assert found["/usage"]["totals"]["events"] == sum(
        found[f"/usage {second}"]["totals"]["events"] for second in range(TRACE_SECONDS)
    )
    assert found["/cost"]["energy"]["cost_per_token_usd"] > 0
    return found


def test_several_processors_answer_like_one(
    kafka: MockKafka, two_databases: tuple[Stored, Stored], trace: Trace
) -> None:
    """Each sees a part, in another order; one of them leaves in the middle."""
    kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
    alone_in, shared = two_databases
    with (
        processor(kafka, alone_in, CONSUMER_GROUP="alone") as alone,
        processor(kafka, shared, CONSUMER_GROUP="several", CONSUMER_INSTANCE_ID="a") as first,
        processor(kafka, shared, CONSUMER_GROUP="several", CONSUMER_INSTANCE_ID="b") as second,
    ):
        until(lambda: [assigned(one) for one in (alone, first, second)] == [8, 4, 4], "shared")
        events = random.Random(1).sample(trace.events, len(trace.events))
        middle = len(events) // 2
        send(kafka, events[:middle])
        until(lambda: consumed(first) + consumed(second) == middle, "the first half")
        assert min(consumed(first), consumed(second)) > 0
        second.popen.send_signal(signal.SIGTERM)
        send(kafka, events[middle:])
        until(lambda: alone_in.holds(trace) and shared.holds(trace), "all stored once")
        # The one that leaves may have read the rest before it went.
        until(lambda: assigned(first) == 8, "all partitions are its own")
        assert answers(first, trace.start) == answers(alone, trace.start)


def test_a_replay_at_60_times_real_time_answers_like_one_at_real_time(
    kafka: MockKafka, two_databases: tuple[Stored, Stored], trace: Trace
) -> None:
    given = []
    for stored, speed in zip(two_databases, (1, 60), strict=True):
        topics = {"TOPIC_METRIC": f"metrics-{speed}", "TOPIC_TOKEN": f"usage-{speed}"}
        kafka.make_topics(*topics.values())
        with processor(kafka, stored, CONSUMER_GROUP=str(speed), **topics) as process:
            until(lambda: assigned(process) == 8, "assigned")
            replay(kafka, trace, speed, topics)
            until(lambda: stored.holds(trace), "all stored")  # noqa: B023 (called at once)
            given.append(answers(process, trace.start))
    assert given[0] == given[1]


def send(kafka: MockKafka, events: list[TokenUsage | GpuMetric]) -> None:
    """Over all partitions, so that no processor sees all of one GPU."""
    for topic, event_type in ((TOPIC_METRIC, GpuMetric), (TOPIC_TOKEN, TokenUsage)):
        kafka.send(topic, *(encode(event) for event in events if isinstance(event, event_type)))


def consumed(process: Process) -> int:
    samples = process.get("/metrics")[1].splitlines()
    found = [line for line in samples if line.startswith("gpu_token_events_consumed_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)


def replay(kafka: MockKafka, trace: Trace, speed: int, topics: dict[str, str]) -> None:
    """As an operator does it."""
    command = [sys.executable, "-m", "gpu_token_producers", "replay", trace.path, f"--speed={speed}"]
    options = [f"--metrics-interval-seconds={METRICS_INTERVAL_SECONDS}"]
    environment = {**os.environ, "KAFKA_BOOTSTRAP": kafka.bootstrap, **topics}
    subprocess.run([*command, *options], env=environment, check=True)
