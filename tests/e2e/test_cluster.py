"""One broker becomes three, loses one that comes back empty, and is one again; no event is lost. In order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.gpu_token.pipeline.plugins.modules.kafka_quorum import parse as voters_of
from ansible_collections.gpu_token.pipeline.plugins.modules.kafka_replicas import parse as placement_of

from .conftest import lab_command
from .runner import KAFKA_LOGIN_FILE, ROOT, Play, host_variables, play
from .test_replace import totals

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]
BROKERS = ("kafka-1", "kafka-2", "kafka-3")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """fleet.yml with another number, in the place of the real one until the tests are over."""
    fleet: dict[str, Any] = yaml.safe_load((ROOT / "fleet.yml").read_text())
    fleet["roles"]["kafka"]["count"] = len(BROKERS)
    path = tmp_path_factory.mktemp("fleet") / "fleet.yml"
    path.write_text(yaml.safe_dump(fleet))
    os.environ["LAB_FLEET"] = str(path)
    yield fleet
    os.environ.pop("LAB_FLEET", None)


def tool(on_machine: OnMachine, name: str, *arguments: str) -> str:
    """One of Kafka's tools, at the address that brokers of a cluster give each other."""
    address = host_variables("kafka-1")["private_ip_address"]
    login = ("--bootstrap-server", f"{address}:29092", "--command-config", KAFKA_LOGIN_FILE)
    return on_machine(
        "kafka-1", "docker", "exec", "kafka", f"/opt/kafka/bin/kafka-{name}.sh", *login, *arguments
    )


def voters(on_machine: OnMachine) -> set[int]:
    described = tool(on_machine, "metadata-quorum", "describe", "--replication")
    return {member.node_id for member in voters_of(described) if member.votes}


def copies(on_machine: OnMachine) -> set[tuple[int, ...]]:
    """The brokers of every partition there is, Kafka's own included."""
    cluster = placement_of(tool(on_machine, "topics", "--describe"))
    assert (cluster.moving, cluster.is_limited) == (0, False)
    return {tuple(sorted(nodes)) for nodes in cluster.placement.values()}


def kafka_role(**variables: Any) -> Play:
    """The plays of site.yml that concern the brokers."""
    return play("site.yml", limit="kafka", **variables).must_pass()


def test_one_broker_becomes_three_with_all_that_it_holds(
    trace: Path, fleet: dict[str, Any], on_machine: OnMachine
) -> None:
    """The generator goes on meanwhile."""
    play("playbooks/replay.yml", replay_trace=str(trace)).must_pass()
    lab_command("up")
    kafka_role(fleet=fleet)
    assert voters(on_machine) == {1, 2, 3}
    assert copies(on_machine) == {(1, 2, 3)}
    sums = totals(fleet=fleet)
    assert sums["stored"] == sums["sent"] > 0
    assert (sums["duplicates"], sums["dead_lettered"]) == (0, 0)


def test_a_broker_is_not_missed_and_may_come_back_empty(
    trace: Path, fleet: dict[str, Any], on_machine: OnMachine
) -> None:
    on_machine("kafka-2", "docker", "compose", "--project-directory", "/opt/gpu-token/kafka", "stop")
    play("playbooks/replay.yml", replay_trace=str(trace)).must_pass()
    on_machine("kafka-2", "sh", "-c", "rm -r /srv/kafka/*")
    run = kafka_role(fleet=fleet)
    assert set(run.changed) == {"kafka-2"}
    assert voters(on_machine) == {1, 2, 3}
    assert copies(on_machine) == {(1, 2, 3)}


def test_three_become_one_again(fleet: dict[str, Any], on_machine: OnMachine) -> None:
    """Those that are not counted any more give all away before their machines go."""
    kafka_role()
    del os.environ["LAB_FLEET"]
    lab_command("up")
    sums = totals()
    assert sums["stored"] == sums["sent"] > 0
    assert (sums["duplicates"], sums["dead_lettered"]) == (0, 0)
