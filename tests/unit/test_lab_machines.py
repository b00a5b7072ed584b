"""Whose machines the lab may touch."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fleet.model import load
from lab import machines, settings
from lab.errors import LabError
from lab.machines import Machine

ROOT = Path(__file__).parents[2]


def of(owner: Path) -> dict[str, Machine]:
    """One machine that the checkout with this state folder made."""
    machine = Machine("kafka-1", "kafka", IPv4Address("10.0.1.10"), "running", 2048, "", str(owner))
    return {machine.name: machine}


def test_machines_of_another_checkout_are_left_alone(tmp_path: Path) -> None:
    here = settings.from_environment({}, load(ROOT / "fleet.yml"), root=tmp_path / "here")
    there = tmp_path / "there" / ".lab" / "lab"
    machines.require_own(here, of(here.state))
    machines.require_own(here, of(there))  # that checkout was removed
    there.mkdir(parents=True)
    with pytest.raises(LabError, match=r"belongs to .*there"):
        machines.require_own(here, of(there))
