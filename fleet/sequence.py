"""From nothing to a verified pipeline on AWS, step by step, as a message sequence chart (mscgen)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fleet.playbooks import Play, plays
from fleet.shape import Fleet

HEAD = """\
# Generated from fleet.yml and the playbooks by `fleet sequence`: do not edit.
msc {
  hscale="1.4", wordwraparcs="1";
"""

_EVERY_MACHINE = ("all", "verify_up")
_CONTROLLER = "localhost"


def provisioning(fleet: Fleet, playbooks: Path) -> str:
    """The chart's text; ``playbooks`` is the folder of site.yml and verify.yml."""
    entities = ["operator", "terraform", 'ec2 [label="EC2 API"]', "ansible", *fleet.roles]
    steps = [
        f"{', '.join(entities)};",
        *_machines(fleet),
        *_inventory(),
        *_playbook(fleet, playbooks / "site.yml"),
        *_playbook(fleet, playbooks / "verify.yml"),
        _arc("ansible>>operator", "passed or not; build/verify.json"),
    ]
    return HEAD + "".join(f"  {step}\n" for step in steps) + "}\n"


def _machines(fleet: Fleet) -> Iterator[str]:
    """What Terraform asks of AWS."""
    disks = [name for name, role in fleet.machines().items() if fleet.roles[role].data_disk_gib]
    yield _divider("make deploy ENV=aws")
    yield _arc("operator=>terraform", "init, plan, apply")
    yield _arc("terraform=>ec2", f"subnet {fleet.network.subnet_cidr}")
    yield _arc("terraform=>ec2", f"{len(fleet.roles)} groups, {len(fleet.flows)} flows")
    yield _arc("terraform=>ec2", f"{len(fleet.machines())} bare instances")
    if disks:
        yield _arc("terraform=>ec2", f"{len(disks)} data volumes")
    yield _arc("operator=>ec2", "host keys, from the consoles")


def _inventory() -> Iterator[str]:
    """How Ansible learns of the machines."""
    yield _arc("operator=>ansible", "site.yml")
    yield _arc("ansible=>ec2", "instances by tag")
    yield _arc("ec2>>ansible", "groups, addresses")


def _playbook(fleet: Fleet, playbook: Path) -> Iterator[str]:
    yield _divider(playbook.name)
    for play in plays(playbook):
        yield _play(fleet, play)


def _play(fleet: Fleet, play: Play) -> str:
    """One row: an arc to each role that the play runs on, named once."""
    if play.hosts == _CONTROLLER:
        return _arc("ansible=>ansible", play.name)
    *passed, last = _roles(fleet, play.hosts)
    return ", ".join([*(f"ansible=>{role}" for role in passed), _arc(f"ansible=>{last}", play.name)])


def _roles(fleet: Fleet, hosts: str) -> list[str]:
    """The roles that a pattern such as ``kafka:&verify_up`` stands for."""
    group = hosts.partition(":")[0]
    if group in _EVERY_MACHINE:
        return list(fleet.roles)
    if group in fleet.roles:
        return [group]
    raise ValueError(f"{hosts} is no group of fleet.yml: draw it in {__name__}, or mend the playbook.")


def _arc(ends: str, text: str) -> str:
    return f"{ends} [label={json.dumps(text, ensure_ascii=False)}];"


def _divider(text: str) -> str:
    return _arc("---", text)
