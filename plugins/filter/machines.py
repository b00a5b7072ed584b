"""The machines of fleet.yml beside those of the inventory, which lists what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Fleet = Mapping[str, Any]
Groups = Mapping[str, Sequence[str]]
HostVars = Mapping[str, Mapping[str, Any]]


def counted(fleet: Fleet, role: str) -> list[str]:
    """The names of a role's machines: ``<role>-1`` up to its count."""
    return [f"{role}-{number}" for number in range(1, fleet["roles"][role]["count"] + 1)]


def missing_machines(fleet: Fleet, groups: Groups) -> list[str]:
    """Machines that fleet.yml counts and that do not run."""
    return [
        name for role in fleet["roles"] for name in counted(fleet, role) if name not in groups.get(role, ())
    ]


def extra_machines(fleet: Fleet, groups: Groups) -> list[str]:
    """Machines that run and that fleet.yml does not count, GPU hosts left out."""
    known = groups.get("gpu_hosts", ())
    return [
        name
        for role in fleet["roles"]
        for name in groups.get(role, ())
        if name not in counted(fleet, role) and name not in known
    ]


def absence(missing: Sequence[str]) -> str:
    """What to say of machines that do not run, in one sentence; nothing where there are none."""
    if not missing:
        return ""
    return (
        f"fleet.yml counts {', '.join(missing)}, and no machine of that name is running: start it (lab up; "
        "on AWS start the instance, or terraform apply), or lower its role's count; if it runs, look at its "
        "tags Role, Project and Environment."
    )


def knocks(
    fleet: Fleet, machine: str, place: str, groups: Groups, hostvars: HostVars, idle: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Where a machine must find an open port: its own published ports, and those that flows lead it to.

    `place` is the machine's role, or the network outside where it stands. At ports named in `idle` nothing
    listens now.
    """
    alone = set()
    if fleet["roles"].get(place, {}).get("count") == 1:
        # Ports for others of the same role, of which there are none.
        alone = {flow["port"] for flow in fleet["flows"] if flow["from"] == flow["to"] == place}
    own = [
        {"name": f"port {port}", "detail": f"{name} port open", "machine": machine, "port": port}
        for name, port in fleet["roles"].get(place, {}).get("ports", {}).items()
        if name not in idle and port not in alone
    ]
    froms = (place, "all") if place in fleet["roles"] else (place,)
    others = [
        {
            "name": f"reaches {other}",
            "detail": f"port {flow['port']} open",
            "machine": other,
            "port": flow["port"],
        }
        for flow in fleet["flows"]
        if flow["from"] in froms
        for other in sorted(groups.get(flow["to"], ()))
        if other != machine
    ]
    return [
        {**knock, "host": _address(hostvars[knock["machine"]], place in fleet["roles"])}
        for knock in own + others
    ]


def _address(machine: Mapping[str, Any], from_within: bool) -> str:
    """Where a machine is reached; from outside, by the name that a broker gives to its clients."""
    private = str(machine["private_ip_address"])
    return private if from_within else str(machine.get("kafka_advertised_host") or private)


def operator_knocks(fleet: Fleet, role: str) -> list[dict[str, Any]]:
    """The ports of a role's machine that the operator must find open; none of a machine outside the fleet."""
    if role not in fleet["roles"]:
        return []
    flows = [flow for flow in fleet["flows"] if flow["from"] == "operator" and flow["to"] in (role, "all")]
    ports = dict.fromkeys(flow["port"] for flow in flows)
    return [{"name": "open to the operator", "detail": f"port {port} open", "port": port} for port in ports]


def logins(fleet: Fleet, groups: Groups, hostvars: HostVars) -> list[dict[str, Any]]:
    """The services that must know who asks."""
    services = (("kafka", "kafka", "client"), ("mongo", "mongodb", "mongodb"))
    return [
        {
            "machine": machine,
            "service": service,
            "host": hostvars[machine]["private_ip_address"],
            "port": fleet["roles"][role]["ports"][port],
        }
        for role, service, port in services
        for machine in sorted(groups.get(role, ()))
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "missing_machines": missing_machines,
            "extra_machines": extra_machines,
            "absence": absence,
            "knocks": knocks,
            "operator_knocks": operator_knocks,
            "logins": logins,
        }
