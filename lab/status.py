"""The table of machines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.table import Table

from fleet.model import Fleet
from lab import ec2_server, machines
from lab.ec2 import Registrations
from lab.machines import MIB, Machine
from lab.settings import Settings

_MEMORY_FILES = (
    ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class Row:
    """A machine's line; what is not known is None."""

    machine: Machine
    instance_id: str | None
    memory_used_mib: int | None
    docker: str | None


def rows(settings: Settings, fleet: Fleet) -> list[Row]:
    """A line for every machine that exists."""
    found = machines.listing(settings)
    ids = _instance_ids(settings, fleet)
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda machine: _row(settings, machine, ids), found.values()))


def table(settings: Settings, lines: list[Row]) -> Table:
    """The lines as a table."""
    view = Table(title=f"{settings.name}: {settings.subnet}")
    for heading in ("machine", "role", "address", "instance", "state", "memory MiB", "docker"):
        view.add_column(heading)
    for line in lines:
        machine = line.machine
        view.add_row(
            machine.name,
            machine.role,
            str(machine.address),
            line.instance_id or "-",
            machine.state,
            f"{'-' if line.memory_used_mib is None else line.memory_used_mib} / {machine.memory_mib}",
            line.docker or "-",
        )
    return view


def _row(settings: Settings, machine: Machine, ids: dict[str, str]) -> Row:
    used, docker = _inside(settings, machine.name) if machine.running else (None, None)
    return Row(machine, ids.get(machine.name), used, docker)


def _inside(settings: Settings, name: str) -> tuple[int | None, str | None]:
    version = machines.run_in(settings, name, "docker", "--version")
    docker = version.split()[2].rstrip(",") if version else None
    for total, statistics, reclaimable in _MEMORY_FILES:
        text = machines.run_in(settings, name, "cat", total, statistics)
        if text:
            used, *lines = text.splitlines()
            details = dict(line.split() for line in lines)
            return (int(used) - int(details.get(reclaimable, 0))) // MIB, docker
    return None, docker


def _instance_ids(settings: Settings, fleet: Fleet) -> dict[str, str]:
    if not ec2_server.answers(settings):
        return {}
    known = Registrations(ec2_server.client(settings), fleet.project, settings.name).registered()
    return {instance.name: instance_id for instance_id, instance in known}
