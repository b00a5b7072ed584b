"""Where copies of partitions are put, and how the module kafka_replicas has them moved."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_placement import Partition, place
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_replicas
from hypothesis import given
from hypothesis import strategies as st

from .kafka_container import Container

TOPICS, REASSIGN = "kafka-topics.sh", "kafka-reassign-partitions.sh"
ONE_ZONE = dict.fromkeys(range(1, 6), "")


def alone(count: int) -> dict[Partition, tuple[int, ...]]:
    """So many partitions, all on the first broker."""
    return {Partition("usage", number): (1,) for number in range(count)}


@st.composite
def placements(draw: st.DrawFn) -> tuple[dict[Partition, tuple[int, ...]], dict[int, str], int]:
    """A placement on some brokers, the brokers that should hold it, with their racks, and how many copies."""
    before = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6, unique=True))
    after = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6, unique=True))
    racks = {node: draw(st.sampled_from("abc")) for node in after}
    partitions = draw(st.integers(0, 20))
    copies = st.lists(st.sampled_from(before), min_size=1, max_size=3, unique=True)
    placement = {Partition("usage", number): tuple(draw(copies)) for number in range(partitions)}
    return placement, racks, draw(st.integers(1, 3))


@given(placements())
def test_every_partition_has_its_copies_and_a_second_look_moves_nothing(
    given_: tuple[dict[Partition, tuple[int, ...]], dict[int, str], int],
) -> None:
    placement, racks, copies = given_
    placed = place(placement, racks, copies)
    assert set(placed) == set(placement)
    for nodes in placed.values():
        assert len(set(nodes)) == len(nodes) == min(copies, len(racks))
        assert set(nodes) <= set(racks)
    assert place(placed, racks, copies) == placed


@given(placements())
def test_what_has_its_copies_stays_where_it_is(
    given_: tuple[dict[Partition, tuple[int, ...]], dict[int, str], int],
) -> None:
    placement, racks, copies = given_
    kept = {partition: {node for node in nodes if node in racks} for partition, nodes in placement.items()}
    enough = all(len(nodes) <= copies for nodes in kept.values())
    if enough and set(racks) == set().union(*kept.values()):
        placed = place(placement, racks, copies)
        assert [partition for partition in kept if not kept[partition] <= set(placed[partition])] == []


def test_three_brokers_hold_everything_and_lead_alike() -> None:
    placed = place(alone(6), dict.fromkeys((1, 2, 3), ""), 3)
    assert {tuple(sorted(nodes)) for nodes in placed.values()} == {(1, 2, 3)}
    assert sorted(Counter(nodes[0] for nodes in placed.values()).values()) == [2, 2, 2]


def test_a_fourth_broker_gets_its_share_and_no_more_moves_than_that() -> None:
    before = place(alone(8), dict.fromkeys((1, 2, 3), ""), 3)
    after = place(before, dict.fromkeys((1, 2, 3, 4), ""), 3)
    assert Counter(node for nodes in after.values() for node in nodes) == {1: 6, 2: 6, 3: 6, 4: 6}
    moved = [set(after[partition]) - set(before[partition]) for partition in before]
    assert sorted(map(sorted, moved)) == [[], []] + [[4]] * 6


def test_a_broker_that_leaves_holds_nothing() -> None:
    before = place(alone(8), dict.fromkeys((1, 2, 3, 4), ""), 3)
    after = place(before, dict.fromkeys((1, 2, 3), ""), 3)
    assert {tuple(sorted(nodes)) for nodes in after.values()} == {(1, 2, 3)}


def test_copies_are_in_different_zones_as_far_as_there_are_so_many() -> None:
    racks = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c"}
    for nodes in place(alone(10), racks, 3).values():
        assert {racks[node] for node in nodes} == {"a", "b", "c"}
    two = {1: "a", 2: "a", 3: "b"}
    for nodes in place(alone(10), two, 2).values():
        assert {two[node] for node in nodes} == {"a", "b"}


def test_an_uneven_placement_that_has_no_empty_broker_is_left_alone() -> None:
    uneven = {**alone(8), Partition("usage", 8): (2,)}
    assert place(uneven, {1: "", 2: ""}, 1) == uneven


# As Kafka 4.1 prints it.
MOVING = (
    "Topic: usage\tTopicId: _cBc\tPartitionCount: 2\tReplicationFactor: 3\t"
    "Configs: leader.replication.throttled.replicas=0:1,follower.replication.throttled.replicas=0:2\n"
    "\tTopic: usage\tPartition: 0\tLeader: 1\tReplicas: 2,1\tIsr: 1\tAdding Replicas: 2\t"
    "Removing Replicas: \tElr: \n"
    "\tTopic: usage\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n"
)
STILL = (
    "Topic: usage\tTopicId: _cBc\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: min.insync.replicas=1\n"
    "\tTopic: usage\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n"
    "\tTopic: usage\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n"
)


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    return Container(tmp_path, monkeypatch, TOPICS, REASSIGN)


def run(
    container: Container, capsys: pytest.CaptureFixture[str], description: str, **changes: Any
) -> dict[str, Any]:
    container.prints(TOPICS, description)
    arguments: dict[str, Any] = {
        "brokers": [{"id": 1}, {"id": 2}],
        "replication_factor": 2,
        "bytes_per_second": 1000,
    }
    result, _ = container.run(kafka_replicas, capsys, **{**arguments, "wait_seconds": 0, **changes})
    return result


def test_what_has_to_move_is_moved_within_a_limit(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(container, capsys, STILL)
    assert (result["changed"], result["partitions"]) == (True, 2)
    assert result["actions"] == ["move usage-0 to 2,1", "move usage-1 to 1,2"]
    (call,) = container.calls(REASSIGN)
    assert call.startswith("--execute --throttle 1000 --reassignment-json-file /dev/fd/")
    assert json.loads(container.secret(REASSIGN)) == {
        "version": 1,
        "partitions": [
            {"topic": "usage", "partition": number, "replicas": nodes}
            for number, nodes in enumerate([[2, 1], [1, 2]])
        ],
    }


def test_a_dry_run_moves_nothing(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(container, capsys, STILL, _ansible_check_mode=True)
    assert result["changed"]
    assert result["diff"] == {
        "before": {"usage-0": "1", "usage-1": "1"},
        "after": {"usage-0": "2,1", "usage-1": "1,2"},
    }
    assert container.calls(REASSIGN) == []


def test_while_copies_are_on_their_way_nothing_else_is_planned(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(container, capsys, MOVING)
    assert (result["changed"], result["moving"], result["actions"]) == (False, 1, [])
    assert container.calls(REASSIGN) == []


def test_the_limit_goes_when_all_has_arrived(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the limit of a run that was cut off."""
    arrived = MOVING.replace("Adding Replicas: 2\tRemoving Replicas: ", "").replace(
        "Replicas: 1\t", "Replicas: 1,2\t"
    )
    result = run(container, capsys, arrived)
    assert (result["changed"], result["moving"]) == (True, 0)
    (call,) = container.calls(REASSIGN)
    assert call.startswith("--verify --reassignment-json-file /dev/fd/")


def test_nothing_moves_where_all_is_in_its_place(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(container, capsys, STILL, replication_factor=1, brokers=[{"id": 1}])
    assert (result["changed"], result["actions"], result["diff"]) == (False, [], {})
