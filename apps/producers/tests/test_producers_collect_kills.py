"""Engine, collector, broker are killed in random order, under load: each token that was shown counts once."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_token_contracts import TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE
from producers_collect import Collector, assert_tiled, sums, usages
from producers_engine import Engine
from producers_kafka import MockKafka

from lab.ports import free_port
from testing.broker import Broker
from testing.waiting import until

TOPICS = (TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE)
KILLS = ["engine"] * 9 + ["collector"] * 9 + ["broker"] * 3
SEED = 20261130


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real one: what it has acknowledged is on its disk."""
    if not (shutil.which("java") and shutil.which("mvn")):
        pytest.skip("a broker needs Java and Maven: make setup-lab")
    with Broker(tmp_path_factory.mktemp("kafka")) as running:
        running.make_topics(TOPICS)
        yield running


def source(engine: Engine) -> dict[str, Any]:
    return {
        "name": "chat",
        "type": "vllm",
        "target": engine.url,
        "interval_seconds": 0.2,
        "timeout_seconds": 2,
        "labels": {"deployment": "chat"},
    }


def messages(broker: Broker) -> Any:
    # Only reads.
    return MockKafka(broker.bootstrap, None).read(TOPIC_TOKEN_USAGE)  # type: ignore[arg-type]


def delivered(collector: Collector) -> None:
    """Wait until no event waits for Kafka, and the last answer is on the disk."""
    (path,) = collector.state.glob("*.journal.json")
    time.sleep(0.5)
    until(lambda: b'"pending":[]' in path.read_bytes(), "Kafka has all events", 60)


def looked(engine: Engine, times: int = 2) -> None:
    """Wait until this life of the engine was asked again, so that no kill falls on an answer nobody kept."""
    before = engine.answers
    until(lambda: engine.answers >= before + times, "the engine is asked", 60)


def test_kills_in_random_order_lose_no_token_and_count_none_twice(broker: Broker, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    plan = rng.sample(KILLS, len(KILLS))
    with (
        Engine(tmp_path / "engine", free_port()) as engine,
        Collector(tmp_path / "run", broker.bootstrap, TOPICS, [source(engine)]) as collector,
    ):
        looked(engine)
        for victim in plan:
            time.sleep(rng.uniform(0.2, 0.8))
            if victim == "engine":
                looked(engine)
                engine.kill()
                time.sleep(rng.uniform(0, 0.5))
                engine.start()
            elif victim == "collector":
                collector.kill()
                time.sleep(rng.uniform(0, 0.5))
                collector.start()
            else:
                broker.kill()
        looked(engine)
        engine.drain()
        delivered(collector)
        assert collector.stop() == 0
        shown, made = engine.shown(), engine.made()
    found = messages(broker)
    events = usages(found)
    assert sums(events) == shown
    assert_tiled(events)
    resets = sum(usage.counter_resets or 0 for usage in events.values() if usage.model == "m1")
    assert resets == plan.count("engine")
    lost = {model: made[model] - shown[model] for model in made}
    print(f"\n{len(found)} messages, {len(events)} events; shown {shown}; never shown {lost}")


def test_an_engine_that_is_drained_loses_nothing(broker: Broker, tmp_path: Path) -> None:
    before = usages(messages(broker))
    with (
        Engine(tmp_path / "engine", free_port(), requests_per_second=200) as engine,
        Collector(tmp_path / "run", broker.bootstrap, TOPICS, [source(engine)]) as collector,
    ):
        looked(engine)
        for _ in range(2):
            engine.drain()
            engine.start()
            looked(engine)
        engine.drain()
        delivered(collector)
        assert collector.stop() == 0
        made = engine.made()
    events = usages(messages(broker))
    assert sums({event_id: events[event_id] for event_id in events.keys() - before.keys()}) == made
