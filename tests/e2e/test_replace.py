"""Machines that are replaced come back with their data, and site.yml tells the others where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import lab_command
from .runner import ROOT, host_variables, kafka_tool, play

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]


MACHINES = ("kafka-1", "mongo-1")


def test_replaced_machines_come_back_with_their_data(trace: Path, on_machine: OnMachine) -> None:
    """That another run would change nothing is what test_drift proves, which comes next."""
    play("playbooks/replay.yml", replay_trace=str(trace)).must_pass()
    sums = totals()
    assert sums["stored"] == sums["sent"] > 0
    events = end_offsets(on_machine)
    old = {machine: host_variables(machine) for machine in MACHINES}

    for machine in MACHINES:
        lab_command("replace", machine)
    for machine in MACHINES:
        new = host_variables(machine)
        assert new["ansible_host"] != old[machine]["ansible_host"]
        assert new["ec2_instance_id"] != old[machine]["ec2_instance_id"]
        assert new["data_volume_id"] == old[machine]["data_volume_id"]

    healed = play("site.yml").must_pass()
    assert {*MACHINES, "processor-1"} <= set(healed.changed)
    # The generator went on meanwhile.
    now = end_offsets(on_machine)
    assert {partition: now[partition] for partition in events if now[partition] < events[partition]} == {}
    assert totals() == sums


def totals(**variables: Any) -> dict[str, int]:
    """What verify counts of the last replay, after it has found nothing wrong and sent events of its own."""
    play("playbooks/verify.yml", **variables).must_pass()
    sums: dict[str, int] = json.loads((ROOT / "build" / "verify.json").read_text())["totals"]
    return sums


def end_offsets(on_machine: OnMachine) -> dict[str, int]:
    """How many events each partition has taken."""
    printed = on_machine("kafka-1", *kafka_tool("get-offsets"))
    lines = (line.rsplit(":", 1) for line in printed.splitlines())
    return {partition: int(offset) for partition, offset in lines}
