"""What the module kafka_data_info says of a data directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_data_info as info

from .role_files import role_variables

UNIQUE = "0123456789abcdef" * 2
GOOD: dict[str, Any] = {
    "foreign": [],
    "cluster_id": "",
    "kept_cluster_id": "",
    "node_id": "",
    "strays": [],
    "has_metadata": False,
    "metadata_lost": False,
    "voters": [],
}


def test_reads_the_ids_that_a_broker_wrote(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text(
        "#comment\nversion=1\ncluster.id=abc==\nnode.id=2\n", encoding="utf-8"
    )
    properties = info.read_properties(tmp_path)
    assert properties == {"version": "1", "cluster.id": "abc==", "node.id": "2"}


def test_names_files_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert info.foreign_names(tmp_path) == []
    (tmp_path / "WiredTiger").touch()
    assert info.foreign_names(tmp_path) == ["WiredTiger"]
    (tmp_path / "meta.properties").touch()
    assert info.foreign_names(tmp_path) == []


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert info.foreign_names(missing) == []
    assert not info.has_wrong_owner(missing, 1000)
    assert info.read_text(missing / "meta.properties") == ""


def test_finds_a_file_with_another_owner(tmp_path: Path) -> None:
    (tmp_path / "topic-0").mkdir()
    (tmp_path / "topic-0" / "0.log").touch()
    assert not info.has_wrong_owner(tmp_path, os.getuid())
    assert info.has_wrong_owner(tmp_path, os.getuid() + 1)


def partition(data_dir: Path, name: str, events: bytes = b"events") -> None:
    """A partition's directory."""
    (data_dir / name).mkdir()
    (data_dir / name / "00000000000000000000.log").write_bytes(events)


def test_names_the_topics_whose_events_are_stray(tmp_path: Path) -> None:
    partition(tmp_path, "token.usage.v1-0")
    partition(tmp_path, "__cluster_metadata-0")
    partition(tmp_path, f"gpu-1-2.{UNIQUE}-delete")
    assert info.strays(tmp_path) == []
    partition(tmp_path, f"gpu-1-2.{UNIQUE}-stray")
    partition(tmp_path, f"gpu-1-10.{UNIQUE}-stray")
    partition(tmp_path, f"gpu-1-3.{UNIQUE}-stray", b"")
    partition(tmp_path, f"empty-0.{UNIQUE}-stray", b"")
    assert info.strays(tmp_path) == [{"topic": "gpu-1", "partitions": [2, 3, 10], "bytes": 12}]
    assert info.strays(tmp_path / "missing") == []


def test_notes_that_nothing_says_what_the_partitions_are(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").touch()
    assert not info.is_metadata_lost(tmp_path), "a new broker"
    partition(tmp_path, "token.usage.v1-0", b"")
    assert info.is_metadata_lost(tmp_path), "no metadata"
    partition(tmp_path, "__cluster_metadata-0", b"")
    assert info.is_metadata_lost(tmp_path), "a log that was cut off"
    snapshot = tmp_path / "__cluster_metadata-0" / "00000000000000000141-0000000001.checkpoint"
    snapshot.write_bytes(b"records")
    assert not info.is_metadata_lost(tmp_path), "a snapshot is enough"
    snapshot.rename(f"{snapshot}.deleted")
    assert info.is_metadata_lost(tmp_path), "a snapshot that is deleted is none"
    (tmp_path / "__cluster_metadata-0" / "00000000000000000000.log").write_bytes(b"records")
    assert not info.is_metadata_lost(tmp_path)


def refusals(data: dict[str, Any], **variables: Any) -> list[str]:
    """What the role kafka says before it changes anything, as plain sentences."""
    topics = [{"name": "token.usage.v1", "partitions": 3}]
    context = {
        **role_variables("kafka"),
        "inventory_hostname": "kafka-1",
        "_kafka_cluster_id": "",
        "kafka_topics": topics,
    }
    context |= {"_kafka_data": {**GOOD, **data}, **variables}
    rules = Templar(DataLoader(), variables=context).template(context["_kafka_data_rules"])
    return [" ".join(rule["otherwise"].split()) for rule in rules if not rule["holds"]]


def test_sound_data_is_accepted() -> None:
    assert refusals({}) == []


@pytest.mark.parametrize("topic", ["token.usage.v1", "__consumer_offsets"])
def test_stray_events_of_a_wanted_topic_are_refused(topic: str) -> None:
    (said,) = refusals({"strays": [{"topic": topic, "partitions": [0, 2], "bytes": 4096}]})
    assert (
        f"on kafka-1 holds events of {topic} (partitions: 2, bytes: 4096) which the broker does not know"
        in said
    )
    assert "make restore-topics" in said


def test_what_a_deleted_topic_left_behind_is_no_reason_to_stop() -> None:
    assert refusals({"strays": [{"topic": "trial", "partitions": [0], "bytes": 4096}]}) == []


def test_partitions_without_metadata_are_refused() -> None:
    (said,) = refusals({"metadata_lost": True})
    assert "holds events and no record of the topics that they are of" in said
    assert refusals({"metadata_lost": True}, kafka_settings={"metadata.log.dir": "/metadata"}) == []


def test_reads_the_quorum_s_nodes(tmp_path: Path) -> None:
    assert info.voters(tmp_path) == []
    folder = tmp_path / "__cluster_metadata-0"
    folder.mkdir()
    # As Kafka 4.1 writes it where the voters are fixed.
    (folder / "quorum-state").write_text(
        '{"clusterId":"","leaderId":2,"leaderEpoch":7,"votedId":-1,"appliedOffset":0,'
        '"currentVoters":[{"voterId":3},{"voterId":1},{"voterId":2}],"data_version":0}'
    )
    assert info.voters(tmp_path) == [1, 2, 3]
