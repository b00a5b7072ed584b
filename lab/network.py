"""The environment's network in the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network

from lab import preflight, shell
from lab.errors import LabError
from lab.report import Report
from lab.settings import LABEL, Settings


@dataclass(frozen=True)
class _Network:
    owner: str | None
    """The environment to which the network belongs."""
    subnet: IPv4Network


def require_usable(settings: Settings) -> bool:
    """Whether the network already exists; refuses a subnet that is in use elsewhere."""
    found = _inspect(settings.network)
    if found is not None:
        _require_ours(settings, found)
        return True
    routes = json.loads(shell.run(["ip", "-json", "-4", "route", "show"]))
    if other := preflight.overlap(settings.subnet, routes, settings.bridge):
        raise LabError(
            f"LAB_SUBNET {settings.subnet} overlaps the route to {other}: set LAB_SUBNET to a free network."
        )
    return False


def ensure(settings: Settings, report: Report) -> bool:
    """Create the network with the environment's subnet; False if it already exists."""
    if require_usable(settings):
        return False
    shell.run(
        [
            "docker",
            "network",
            "create",
            f"--label={LABEL}={settings.name}",
            f"--subnet={settings.subnet}",
            f"--gateway={settings.host_address}",
            f"--opt=com.docker.network.bridge.name={settings.bridge}",
            settings.network,
        ]
    )
    report.changed(f"network {settings.subnet}")
    return True


def remove(settings: Settings, report: Report) -> None:
    """Remove the environment's network, if there is one."""
    found = _inspect(settings.network)
    if found is not None and found.owner == settings.name:
        shell.run(["docker", "network", "rm", settings.network])
        report.changed(f"network {settings.subnet} removed")


def _require_ours(settings: Settings, found: _Network) -> None:
    if found.owner != settings.name:
        raise LabError(
            f"the engine has a network {settings.network} that is not the lab's: "
            "set LAB_NAME to another name."
        )
    subnet = found.subnet
    if subnet != settings.subnet:
        raise LabError(
            f"the environment {settings.name} is up in {subnet}, not in {settings.subnet}: "
            f"run `lab down` first, or set LAB_SUBNET={subnet}."
        )


def _inspect(name: str) -> _Network | None:
    done = shell.attempt(["docker", "network", "inspect", name])
    if done.returncode:
        return None
    network = json.loads(done.stdout)[0]
    subnet = IPv4Network(network["IPAM"]["Config"][0]["Subnet"])
    return _Network((network["Labels"] or {}).get(LABEL), subnet)
