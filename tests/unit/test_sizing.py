"""The sizes by which `fleet check` judges disks are those of real events."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import pytest
import yaml
from confluent_kafka import Producer
from gpu_token_contracts import GpuMetric, TokenUsage, encode, metric_key, usage_key
from gpu_token_processor.documents import document
from gpu_token_producers.sender import kafka_config

from fleet import sizing
from fleet.model import load
from testing.broker import Broker
from testing.parts import ROOT
from testing.store import DATABASE, Store, make_indexes

EVENTS = 20_000
SENT = 1_000
START = datetime(2026, 11, 1, tzinfo=UTC)
RANDOM = random.Random(1)


def digest(*of: object) -> str:
    return hashlib.sha256(repr(of).encode()).hexdigest()


def reading(number: int) -> GpuMetric:
    """As an exporter's GPUs send it, with all that is known."""
    gpu = number % 64
    return GpuMetric(
        ts=START + timedelta(milliseconds=100 * number),
        event_id=digest("reading", number)[:32],
        host=f"gpu-host-{gpu // 8}.example.internal",
        gpu_index=gpu % 8,
        utilization=RANDOM.randrange(101) / 100,
        mem_used_mb=float(RANDOM.randrange(80_000)),
        mem_total_mb=81_559.0,
        power_w=RANDOM.randrange(7_000) / 10,
        name="NVIDIA H100 80GB HBM3",
        uuid=f"GPU-{digest(gpu)[:8]}-9c6e-4e0a-b0a5-{digest(gpu)[:12]}",
    )


def usage(number: int) -> TokenUsage:
    """As a gateway sends it, with whom it was for."""
    return TokenUsage(
        ts=START + timedelta(milliseconds=100 * number),
        event_id=digest("usage", number)[:32],
        model="meta-llama/Llama-3.3-70B-Instruct",
        prompt_tokens=8_000 + RANDOM.randrange(8_000),
        completion_tokens=RANDOM.randrange(2_000),
        latency_ms=RANDOM.randrange(10**7) / 1_000,
        endpoint="http://vllm-1.example.internal:8000",
        cached_prompt_tokens=RANDOM.randrange(8_000),
        team=f"team-{RANDOM.randrange(20)}",
        user=f"user-{RANDOM.randrange(500)}@example.com",
        api_key_hash=digest(RANDOM.randrange(50)),
        measured_by="gateway",
        tags={"session": digest(number // 7)[:32], "call_type": "acompletion"},
    )


KINDS: dict[str, Callable[[int], GpuMetric | TokenUsage]] = {"gpu_metrics": reading, "token_usage": usage}


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_takes_as_much_of_the_store_as_is_said(kind: str, tmp_path: Path) -> None:
    """In the lab's store, which lies on WiredTiger as MongoDB's does, but compresses nothing."""
    documents = [document(KINDS[kind](number), f"{kind}.v1", number % 3, number) for number in range(EVENTS)]
    with Store.plain(tmp_path).running() as store, store.client() as client:
        database = client[DATABASE]
        make_indexes(database)
        client.admin.command("fsync")
        before = tables_bytes(store)
        for at in range(0, EVENTS, 1_000):
            database[kind].insert_many(documents[at : at + 1_000], ordered=False)
        client.admin.command("fsync")
        each = (tables_bytes(store) - before) / EVENTS
    assert sum(len(bson.encode(one)) for one in documents) / EVENTS < each
    assert 0.7 < each / sizing.STORE_EVENT_BYTES[kind] <= 1, each


def tables_bytes(store: Store) -> int:
    """Of documents and index entries; the stand-in's order of insertion is its own."""
    tables = ("secantus_documents_*.wt", "secantus_index_entries.wt")
    files = (file for pattern in tables for file in Path(store.settings.db_path).glob(pattern))
    return sum(file.stat().st_size for file in files)


def test_an_event_takes_as_much_of_kafka_as_is_said(tmp_path: Path) -> None:
    """Sent alone, as at a low rate; together they take less."""
    with Broker(tmp_path) as broker:
        for kind, make in KINDS.items():
            for together in (1, 64):
                each = sent_bytes(broker, tmp_path, f"{kind}-{together}", make, together)
                share = each / sizing.KAFKA_EVENT_BYTES[kind]
                assert (0.7 < share <= 1) if together == 1 else share < 0.5, (kind, each)


def sent_bytes(
    broker: Broker, folder: Path, topic: str, make: Callable[[int], GpuMetric | TokenUsage], together: int
) -> float:
    """Bytes of an event in the broker's logs, where so many come at once."""
    broker.make_topics([topic])
    producer = Producer(kafka_config(broker.bootstrap, SENT))
    for number in range(SENT):
        event = make(number)
        key = metric_key(event) if isinstance(event, GpuMetric) else usage_key(event)
        producer.produce(topic, encode(event), key)
        if number % together == together - 1:
            producer.flush()
    producer.flush()
    return sum(log.stat().st_size for log in folder.glob(f"kafka/{topic}-*/*.log")) / SENT


def test_a_year_of_roll_ups_is_as_long_as_the_role_says() -> None:
    variables = yaml.safe_load((ROOT / "roles/mongo/vars/main/indexes.yml").read_text())
    days = f"{{{{ mongo_rollup_retention_years | int * {sizing.ROLLUP_YEAR_DAYS} }}}}"
    assert variables["_mongo_rollup_retention_days"] == days


def test_this_fleets_sizes() -> None:
    fleet = load(ROOT / "fleet.yml")
    assert sizing.partition_bytes(fleet) == 20 * 2**30 * 7 // 10 // 8
    # 1 a second of each, for 90 days and one in which they are deleted.
    events = 91 * 86_400 * (700 + 900) / 2**30
    rollups = 3 * 366 * 24 * 20_000 / 2**30
    store = sizing.store_gib(fleet.load_events_per_second, 90, 3)
    assert store == pytest.approx(events + rollups)
    assert sizing.topics_gib(fleet) == pytest.approx(168 * 3_600 * (400 + 600) / 2**30)
