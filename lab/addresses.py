"""Which machine has which private address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from fleet.model import Fleet, machine_name
from lab.errors import LabError

FIRST_HOST = 10
"""Below it: AWS's four reserved addresses, this computer (.1), and room for neither to be mistaken."""


def pinned(fleet: Fleet, subnet: IPv4Network) -> dict[str, IPv4Address]:
    """The addresses that fleet.yml fixes, moved into the lab's subnet where that is another one."""
    home = fleet.network.subnet_cidr
    return {
        machine_name(role, number): subnet[int(address) - int(home.network_address)]
        for role, spec in fleet.roles.items()
        for number, address in enumerate(spec.addresses or (), start=1)
    }


def assign(
    subnet: IPv4Network,
    machines: list[str],
    fixed: Mapping[str, IPv4Address],
    held: Mapping[str, IPv4Address],
    avoid: IPv4Address | None = None,
) -> dict[str, IPv4Address]:
    """An address for every one of ``machines``.

    A fixed address comes first, then the one that the machine holds, then the lowest that nobody
    holds, is due or is to be avoided (a replaced machine gets a new one).
    """
    taken = set(fixed.values()) | set(held.values()) | ({avoid} if avoid else set())
    free = (address for address in _hosts(subnet) if address not in taken)
    plan: dict[str, IPv4Address] = {}
    for machine in machines:
        known = fixed.get(machine) or held.get(machine)
        address = known or next(free, None)
        if address is None:
            raise LabError(
                f"the subnet {subnet} has no address left for {machine}: set LAB_SUBNET to a wider one."
            )
        plan[machine] = address
    return plan


def _hosts(subnet: IPv4Network) -> Iterator[IPv4Address]:
    for offset in range(FIRST_HOST, subnet.num_addresses - 1):
        yield subnet[offset]
