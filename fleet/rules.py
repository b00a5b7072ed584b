"""The meaning of fleet.yml: what its keys must satisfy together, a sentence for each breach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from fleet import sizing
from fleet.shape import INSTANCE_MEMORY_MIB, Fleet, machine_name

_T = TypeVar("_T", bound=Hashable)

OPERATOR = "operator"
EVERY_ROLE = "all"
SSH_PORT = 22

SMALLEST_MEMORY_MIB = {"kafka": 1024, "mongo": 1024}
"""Below this a JVM's heap, or WiredTiger's cache, leaves nothing for the machine itself."""
SMALLEST_OTHER_MEMORY_MIB = 512

SERVICE_PORTS = {"kafka": "client", "mongo": "mongodb", "processor": "api"}
"""The port that other roles look for, by its name."""
PEER_PORTS = {"kafka": ("controller", "internal")}
"""Those by which the machines of a role reach each other, where it has several."""
SERVICE_COUNTS = {"mongo": (1,)}
"""How many machines the roles can set up; of the others any number."""

WIDEST_OUTSIDE_PREFIX = 8
"""A wider network is a large part of the internet. Terraform's allowed_cidrs has the same limit."""

AWS_PREFIXES = range(16, 29)
AWS_RESERVED_FIRST = 4
"""AWS keeps a subnet's first four addresses and its last one."""


def breaches(fleet: Fleet) -> Iterator[str]:
    """One sentence for each rule that the fleet breaks."""
    rules: tuple[Callable[[Fleet], Iterator[str]], ...] = (
        _network,
        _role_names,
        _outside,
        _services,
        _peers,
        _memory,
        _ports,
        _addresses,
        _flows,
        _topics,
        _retention,
        sizing.breaches,
    )
    for rule in rules:
        yield from rule(fleet)


def _network(fleet: Fleet) -> Iterator[str]:
    vpc, subnet = fleet.network.vpc_cidr, fleet.network.subnet_cidr
    if not subnet.subnet_of(vpc):
        yield (
            f"network.subnet_cidr {subnet} is not inside network.vpc_cidr {vpc}: "
            "choose a subnet of that network."
        )
    for key, net in (("vpc_cidr", vpc), ("subnet_cidr", subnet)):
        if net.prefixlen not in AWS_PREFIXES:
            yield (
                f"network.{key} {net} has a prefix of /{net.prefixlen}, which AWS refuses: "
                "use one from /16 to /28."
            )


def _role_names(fleet: Fleet) -> Iterator[str]:
    for name in fleet.roles:
        if name in (OPERATOR, EVERY_ROLE):
            yield f'roles.{name}: the name "{name}" has a meaning of its own in flows: choose another.'


def _outside(fleet: Fleet) -> Iterator[str]:
    subnet = fleet.network.subnet_cidr
    for name, networks in fleet.outside.items():
        if name in (OPERATOR, EVERY_ROLE) or name in fleet.roles:
            yield f'outside.{name}: the name "{name}" means another thing in flows: choose another.'
        for net in networks:
            if net.prefixlen < WIDEST_OUTSIDE_PREFIX:
                yield (
                    f"outside.{name} has {net}, which is a large part of the internet: "
                    f"use a prefix of /{WIDEST_OUTSIDE_PREFIX} or more, best /32."
                )
            elif net.overlaps(subnet):
                yield (
                    f"outside.{name} has {net}, which overlaps network.subnet_cidr {subnet}, "
                    "where the machines of the fleet stand: give networks outside of it."
                )


def _services(fleet: Fleet) -> Iterator[str]:
    for name, port in SERVICE_PORTS.items():
        if name in fleet.roles and port not in fleet.roles[name].ports:
            yield f"roles.{name}.ports has no port {port}, by which the others find it: give it that name."
    for name, counts in SERVICE_COUNTS.items():
        if name in fleet.roles and (count := fleet.roles[name].count) not in counts:
            allowed = " or ".join(map(str, counts))
            yield f"roles.{name}.count is {count}: give {allowed}, which the role can set up."


def _peers(fleet: Fleet) -> Iterator[str]:
    opened = {(flow.source, flow.target, flow.port) for flow in fleet.flows}
    for name, keys in PEER_PORTS.items():
        if name not in fleet.roles or fleet.roles[name].count == 1:
            continue
        several = f"roles.{name}.count is {fleet.roles[name].count}"
        for key in keys:
            port = fleet.roles[name].ports.get(key)
            if port is None:
                yield (
                    f"{several}, and roles.{name}.ports has no port {key}, by which its machines reach "
                    f"each other: add it, and a flow from {name} to {name}."
                )
            elif (name, name, port) not in opened:
                yield (
                    f"{several}, and no flow lets its machines reach each other's port {port}: "
                    f"add {{from: {name}, to: {name}, port: {port}}} to flows."
                )


def _memory(fleet: Fleet) -> Iterator[str]:
    for name, role in fleet.roles.items():
        least = SMALLEST_MEMORY_MIB.get(name, SMALLEST_OTHER_MEMORY_MIB)
        most = INSTANCE_MEMORY_MIB.get(role.instance_type)
        given = role.given_memory_mib
        if given is None and most is None:
            yield (
                f"roles.{name}.instance_type is {role.instance_type}, whose memory is not known here: "
                f"give roles.{name}.memory_mib as well."
            )
        elif given is None and role.memory_mib < least:
            yield (
                f"roles.{name}.instance_type is {role.instance_type} with {most} MiB of memory, "
                f"too small for what runs there: choose one with at least {least}."
            )
        elif given is not None and given < least:
            yield (
                f"roles.{name}.memory_mib is {given}, too small for what runs there: give at least {least}."
            )
        if given is not None and most is not None and given > most:
            yield (
                f"roles.{name}.memory_mib is {given}, but a {role.instance_type} has {most}: "
                f"give at most {most}, or choose a larger instance_type."
            )


def _ports(fleet: Fleet) -> Iterator[str]:
    for name, role in fleet.roles.items():
        for port in _repeated(role.ports.values()):
            names = " and ".join(key for key, value in role.ports.items() if value == port)
            yield f"roles.{name}.ports: {names} are both {port}: give each a port of its own."
        for key, port in role.ports.items():
            if port == SSH_PORT:
                yield f"roles.{name}.ports.{key} is {SSH_PORT}, which is SSH's: choose another port."


def _addresses(fleet: Fleet) -> Iterator[str]:
    subnet = fleet.network.subnet_cidr
    if subnet.prefixlen not in AWS_PREFIXES:
        return
    owner: dict[IPv4Address, str] = {}
    for name, role in fleet.roles.items():
        if role.addresses is None:
            continue
        if len(role.addresses) != role.count:
            yield (
                f"roles.{name}.addresses has {_counted(len(role.addresses), 'entry', 'entries')} "
                f"for {_counted(role.count, 'machine', 'machines')}: "
                "give one for each, or leave addresses out."
            )
        for number, address in enumerate(role.addresses, start=1):
            machine = machine_name(name, number)
            if not usable(address, subnet):
                yield (
                    f"roles.{name}.addresses: {address} of {machine} cannot be used in {subnet}: "
                    f"choose from {subnet[AWS_RESERVED_FIRST]} to {subnet[-2]}."
                )
            if address in owner:
                yield f"{owner[address]} and {machine} both have the address {address}: change one of them."
            owner.setdefault(address, machine)
    room = subnet.num_addresses - AWS_RESERVED_FIRST - 1
    wanted = sum(role.count for role in fleet.roles.values())
    if wanted > room:
        yield (
            f"network.subnet_cidr {subnet} has room for {room} machines, but the roles ask for {wanted}: "
            "widen the subnet or lower a count."
        )


def usable(address: IPv4Address, subnet: IPv4Network) -> bool:
    """Whether AWS lets a machine have this address."""
    return address in subnet and subnet[AWS_RESERVED_FIRST] <= address <= subnet[-2]


def _flows(fleet: Fleet) -> Iterator[str]:
    known = ", ".join(fleet.roles)
    sources = (*fleet.roles, OPERATOR, EVERY_ROLE, *fleet.outside)
    for number, flow in enumerate(fleet.flows, start=1):
        where = f"flows, entry {number}"
        if flow.source not in sources:
            yield (
                f'{where}: from "{flow.source}" is no role and no network of outside: '
                f"use one of {', '.join(sources)}, or add it."
            )
        if flow.target not in fleet.roles and flow.target != EVERY_ROLE:
            yield (
                f'{where}: to "{flow.target}" is no role: use one of {known}, {EVERY_ROLE}, or add the role.'
            )
            continue
        targets = fleet.roles if flow.target == EVERY_ROLE else {flow.target: fleet.roles[flow.target]}
        for name, role in targets.items():
            exposed = {SSH_PORT, *role.ports.values()}
            if flow.port not in exposed:
                yield (
                    f"{where}: {name} does not expose port {flow.port} "
                    f"(it has {', '.join(map(str, sorted(exposed)))}): "
                    f"add it to roles.{name}.ports or change the flow."
                )
    for source, target, port in _repeated((flow.source, flow.target, flow.port) for flow in fleet.flows):
        yield f"flows: from {source} to {target} on {port} stands there twice: remove one."


def _topics(fleet: Fleet) -> Iterator[str]:
    """The first clash only: where two names clash, so do those of their dead letters."""
    by_metric_name: dict[str, str] = {}
    for name in fleet.topic_names():
        if name in (".", ".."):
            yield f"topics: Kafka takes no topic named {name}: rename it."
            return
        other = by_metric_name.get(name.replace(".", "_"))
        if other == name:
            yield f"topics: two topics, dead letters included, have the name {name}: rename one."
            return
        if other is not None:
            yield (
                f"topics: {other} and {name} differ only in dots and underscores, "
                "which Kafka cannot tell apart: rename one."
            )
            return
        by_metric_name[name.replace(".", "_")] = name


def _retention(fleet: Fleet) -> Iterator[str]:
    kept = fleet.retention
    rollup_days = kept.rollup_years * sizing.ROLLUP_YEAR_DAYS
    if rollup_days < kept.raw_days:
        yield (
            f"retention.rollup_years is {kept.rollup_years}, which is {rollup_days} days, and raw_days is "
            f"{kept.raw_days}: keep roll-ups for at least as long as events, with rollup_years "
            f"{-(-kept.raw_days // sizing.ROLLUP_YEAR_DAYS)} or more."
        )


def _repeated(values: Iterable[_T]) -> list[_T]:
    """The values that occur more than once, each once."""
    return [value for value, times in Counter(values).items() if times > 1]


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
