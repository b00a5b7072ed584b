"""A machine that is replaced comes back with its data, and site.yml tells the others where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import lab_command
from .runner import ROOT, host_variables, kafka_tool, play

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]


@pytest.fixture(scope="module")
def replayed(trace: Path) -> None:
    """The trace has gone through the pipeline; sent once more it counts once."""
    play("playbooks/replay.yml", replay_trace=str(trace)).must_pass()


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("machine", ["kafka-1", "mongo-1"])
def test_a_replaced_machine_comes_back_with_its_data(machine: str, on_machine: OnMachine) -> None:
    sums, old = totals(), host_variables(machine)
    assert sums["stored"] == sums["sent"] > 0
    events = end_offsets(on_machine)

    lab_command("replace", machine)
    new = host_variables(machine)
    assert new["ansible_host"] != old["ansible_host"]
    assert new["ec2_instance_id"] != old["ec2_instance_id"]
    assert new["data_volume_id"] == old["data_volume_id"]

    healed = play("site.yml").must_pass()
    assert {machine, "processor-1"} <= set(healed.changed)
    # The generator went on meanwhile.
    now = end_offsets(on_machine)
    assert {partition: now[partition] for partition in events if now[partition] < events[partition]} == {}
    assert totals() == sums
    play("site.yml").must_change_nothing()


def totals() -> dict[str, int]:
    """What verify counts of the last replay, after it has found nothing wrong and sent events of its own."""
    play("playbooks/verify.yml").must_pass()
    sums: dict[str, int] = json.loads((ROOT / "build" / "verify.json").read_text())["totals"]
    return sums


def end_offsets(on_machine: OnMachine) -> dict[str, int]:
    """How many events each partition has taken."""
    printed = on_machine("kafka-1", *kafka_tool("get-offsets"))
    lines = (line.rsplit(":", 1) for line in printed.splitlines())
    return {partition: int(offset) for partition, offset in lines}
