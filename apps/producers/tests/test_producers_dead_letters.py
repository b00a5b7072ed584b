"""Resent dead letters go back to their topics and keep their identity."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message, Producer
from gpu_token_contracts import Origin, dlq_topic, origin_headers
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.resend import Resend
from gpu_token_producers.run import KafkaSettings
from gpu_token_producers.sender import Sender
from producers_kafka import MockKafka, mock_kafka

Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True)
class Site:
    """Topics of GPU metrics and token usage on a broker, and their dead-letter topics."""

    broker: MockKafka
    metrics: str
    usage: str

    def put(self, topic: str, value: bytes | None, headers: Headers, key: bytes | None = b"key") -> None:
        producer = Producer(
            {"bootstrap.servers": self.broker.address, "message.max.bytes": 8_000_000, "linger.ms": 0}
        )
        producer.produce(dlq_topic(topic), value, key, headers=headers)
        assert producer.flush(10) == 0

    def put_letter(self, topic: str, offset: int, reason: str, value: bytes | None = b"{}") -> None:
        own: Headers = [("trace", b"t-1"), ("empty", None), ("dlq.reason", reason), ("dlq.message", "why.")]
        self.put(topic, value, [*own, *origin_headers(Origin(topic, 2, offset))])

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        settings = {
            "KAFKA_BOOTSTRAP": self.broker.address,
            "TOPIC_METRIC": self.metrics,
            "TOPIC_TOKEN": self.usage,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "gpu_token_producers", "resend-dead-letters", *arguments],
            env={**os.environ, **settings, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def resend(self, *arguments: str) -> dict[str, Any]:
        """The counts of a resend that must succeed."""
        process = self.start(*arguments)
        printed, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        counts: dict[str, Any] = json.loads(printed)
        return counts


def made(broker: MockKafka) -> Site:
    suffix = uuid.uuid4().hex[:8]
    site = Site(broker, f"metrics-{suffix}", f"usage-{suffix}")
    broker.create(site.metrics, site.usage, dlq_topic(site.metrics), dlq_topic(site.usage))
    return site


@contextmanager
def fresh() -> Iterator[Site]:
    """A broker of its own: the mock keeps the group's offsets of one site for all."""
    with mock_kafka() as broker:
        yield made(broker)


@pytest.fixture
def site() -> Iterator[Site]:
    with fresh() as one:
        yield one


def origins(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Source partition and offset that each message names."""
    return sorted(
        (headers["dlq.source_partition"], headers["dlq.source_offset"])
        for headers in (
            {name: (value or b"").decode() for name, value in one.headers() or []} for one in messages
        )
    )


def test_a_letter_is_sent_as_it_was_with_the_place_where_it_stood(site: Site) -> None:
    site.put_letter(site.usage, 7, "unknown_version", b'{"a": 1}')
    site.put_letter(site.metrics, 8, "tombstone", None)
    assert site.resend() == {
        "letters": 2,
        "by_reason": {"tombstone": 1, "unknown_version": 1},
        "resent": 2,
        "value_omitted": 0,
        "foreign": 0,
    }
    (usage,) = site.broker.read(site.usage)
    assert (usage.key(), usage.value()) == (b"key", b'{"a": 1}')
    assert usage.headers() == [
        ("trace", b"t-1"),
        ("empty", None),
        ("dlq.source_topic", site.usage.encode()),
        ("dlq.source_partition", b"2"),
        ("dlq.source_offset", b"7"),
    ]
    (metric,) = site.broker.read(site.metrics)
    assert metric.value() is None


def test_the_next_resend_goes_on_where_the_last_one_ended(site: Site) -> None:
    for offset in range(120):
        site.put_letter(site.usage, offset, "invalid_json")
    assert site.resend()["resent"] == 120
    assert site.resend()["letters"] == 0
    site.put_letter(site.usage, 120, "invalid_json")
    assert site.resend()["resent"] == 1
    assert origins(site.broker.read(site.usage)) == sorted(("2", str(offset)) for offset in range(121))


def test_a_reason_is_resent_without_the_others_and_the_others_later(site: Site) -> None:
    for offset, reason in enumerate(["unknown_version", "invalid_json", "unknown_version", "tombstone"]):
        site.put_letter(site.usage, offset, reason)
    assert site.resend("--reason", "unknown_version")["by_reason"] == {"unknown_version": 2}
    assert origins(site.broker.read(site.usage)) == [("2", "0"), ("2", "2")]
    others = site.resend("--reason", "tombstone", "--reason", "invalid_json")
    assert others["by_reason"] == {"invalid_json": 1, "tombstone": 1}
    assert origins(site.broker.read(site.usage)) == [("2", str(offset)) for offset in range(4)]


def test_a_dry_run_counts_and_changes_nothing(site: Site) -> None:
    for offset, reason in enumerate(["unknown_version", "invalid_json", "unknown_version"]):
        site.put_letter(site.usage, offset, reason)
    for _ in range(2):
        counts = site.resend("--dry-run")
        assert counts["by_reason"] == {"invalid_json": 1, "unknown_version": 2}
        assert counts["resent"] == 0
    assert site.broker.read(site.usage) == []
    assert site.resend()["resent"] == 3


def test_what_cannot_be_sent_is_counted(site: Site) -> None:
    origin = origin_headers(Origin(site.usage, 0, 1))
    site.put(site.usage, b"{}", [])
    site.put(site.usage, b"{}", [*origin])
    site.put(site.metrics, b"{}", [("dlq.reason", b"invalid_json"), *origin])
    site.put(site.usage, None, [("dlq.reason", b"too_large"), *origin, ("dlq.value_omitted_bytes", b"9")])
    counts = site.resend()
    assert (counts["foreign"], counts["value_omitted"], counts["resent"]) == (3, 1, 0)
    assert site.broker.read(site.usage) == site.broker.read(site.metrics) == []


def test_a_value_of_2_mb_is_resent(site: Site) -> None:
    site.put_letter(site.usage, 1, "too_large", b"x" * 2_000_000)
    assert site.resend()["resent"] == 1
    (big,) = site.broker.read(site.usage)
    assert len(big.value() or b"") == 2_000_000


def test_what_is_not_acknowledged_is_not_noted_as_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put_letter(site.usage, 1, "invalid_json")
    kafka = KafkaSettings(
        bootstrap=site.broker.address,
        topic_metric=site.metrics,
        topic_token=site.usage,
        wait_seconds=5,
        finish_seconds=5,
        stop_seconds=1,
    )
    with monkeypatch.context() as broken:
        broken.setattr(Sender, "drain", lambda *_: 1)
        with pytest.raises(ProducerError, match="1 had no delivery report: run it again to go on"):
            Resend(kafka, (), dry_run=False).run()
    assert site.resend()["resent"] == 1


def test_a_stopped_resend_can_be_taken_up(site: Site) -> None:
    for offset in range(200):
        site.put_letter(site.usage, offset, "invalid_json")
    process = site.start()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    site.resend()
    assert {offset for _, offset in origins(site.broker.read(site.usage))} == {str(n) for n in range(200)}


def test_a_reason_that_does_not_exist_is_refused(site: Site) -> None:
    process = site.start("--reason", "invalid-json")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "invalid_json" in said


def test_kafka_that_is_not_there_is_one_sentence(site: Site) -> None:
    process = site.start("--wait-seconds", "0", KAFKA_BOOTSTRAP="127.0.0.1:1")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.count("\n") == 1
