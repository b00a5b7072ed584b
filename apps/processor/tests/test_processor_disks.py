"""How full the disks of Kafka and MongoDB are is told by /health: a warning from 80 %, a reason from 95 %."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gpu_token_processor.disks import Ask, Disk, Disks, kafka_disks, mongodb_disks
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.service import Service
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.reads import MongoReads
from prometheus_client import generate_latest
from pymongo import MongoClient

from testing.broker import Broker
from testing.waiting import until

GIB = 2**30


def settings(**changes: Any) -> Settings:
    return Settings(**{"kafka_bootstrap": "127.0.0.1:1", "mongo_url": "mongodb://127.0.0.1:1", **changes})


def known(*disks: Disk) -> Disks:
    """Disks that have been asked for once."""
    told = Disks({"kafka": lambda: disks})
    told.start()
    until(lambda: told.known == sorted(disks), "the disks are known")
    told.stop()
    return told


@pytest.mark.parametrize(
    ("used_gib", "warned", "refused"),
    [(79, False, False), (80, True, False), (94, True, False), (95, False, True)],
)
def test_a_disk_is_warned_of_and_then_a_reason(used_gib: int, warned: bool, refused: bool) -> None:
    disks = known(Disk("kafka-1", used_gib * GIB, 100 * GIB), Disk("mongodb", GIB, 100 * GIB))
    sentence = (
        f"the disk of kafka-1 is {used_gib}% full ({used_gib:.1f} of 100.0 GiB): "
        "give it a larger one, or keep events for less long"
    )
    assert disks.warnings == [sentence] * warned
    assert disks.reasons == [sentence] * refused


def test_health_names_disks_and_a_full_one_is_no_reason_not_to_be_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(settings(api_access="open"))
    before = service.health()
    assert (before.disks, before.warnings) == ([], [])
    full = known(Disk("kafka-1", 19 * GIB, 20 * GIB), Disk("mongodb", 17 * GIB, 20 * GIB))
    monkeypatch.setattr(service, "_disks", full)
    after = service.health()
    assert after.reasons == [*before.reasons, *full.reasons]
    assert [reason for reason in after.reasons if "kafka-1 is 95% full" in reason]
    assert ["mongodb is 85% full" in warning for warning in after.warnings] == [True]
    assert [(disk.name, disk.used_share) for disk in after.disks] == [("kafka-1", 0.95), ("mongodb", 0.85)]
    assert service.ready().reasons == before.reasons


def test_what_fails_to_tell_is_not_known_rather_than_old() -> None:
    answers: list[Sequence[Disk] | Exception] = [[Disk("kafka-1", 1, 2)], LookupError("not allowed")]

    def ask() -> Sequence[Disk]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    disks = Disks({"kafka": ask})
    [probe] = disks._monitor.probes
    probe.run()
    assert disks.known == [Disk("kafka-1", 1, 2)]
    probe.run()
    assert disks.known == []


def test_mongodb_tells_its_disk_and_another_store_need_not(mongo_url: str, mongo_database: str) -> None:
    told = mongodb_disks(lambda: {"fsUsedSize": 3.0 * GIB, "fsTotalSize": 4.0 * GIB})
    assert told() == [Disk("mongodb", 3 * GIB, 4 * GIB)]
    with MongoClient[dict[str, Any]](mongo_url) as client:
        found = mongodb_disks(MongoReads(client, mongo_database).statistics)()
    assert all(disk.total_bytes > disk.used_bytes > 0 for disk in found)


def test_a_broker_tells_its_disk(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        [disk] = kafka_disks(settings(kafka_bootstrap=broker.bootstrap))()
    of_system = shutil.disk_usage(tmp_path)
    assert (disk.name, disk.total_bytes) == ("kafka-1", of_system.total)
    assert 0 < disk.used_bytes < disk.total_bytes


def test_a_broker_that_is_away_or_forbids_it_has_no_disk() -> None:
    ask: Ask = kafka_disks(settings())
    with pytest.raises(Exception, match=r"."):
        ask()


def test_metrics_have_a_gauge_for_each_disk() -> None:
    metrics = Metrics()
    metrics.report_disks(lambda: [Disk("kafka-1", 3, 4), Disk("mongodb", 1, 4)])
    text = generate_latest(metrics.registry).decode()
    assert 'gpu_token_disk_used_ratio{disk="kafka-1"} 0.75' in text
    assert 'gpu_token_disk_used_ratio{disk="mongodb"} 0.25' in text
