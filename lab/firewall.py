"""The flows of fleet.yml as rules between the machines; what is not listed is dropped.

Rules are rendered in the very form in which ``iptables -S`` lists them, so that "are they in
place?" is a comparison of texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from fleet.model import Fleet
from fleet.rules import EVERY_ROLE, OPERATOR
from lab import shell
from lab.report import Report
from lab.settings import Settings

_REPLIES = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"


@dataclass(frozen=True)
class Chain:
    """A chain of our own: where it is hooked in, for which packets, and its rules."""

    name: str
    hooked_into: str
    match: str
    rules: tuple[str, ...]

    @property
    def hook(self) -> str:
        """The rule by which packets come here."""
        return f"{self.hooked_into} {self.match} -j {self.name}"


def chains(settings: Settings, fleet: Fleet, machines: Mapping[str, tuple[str, IPv4Address]]) -> list[Chain]:
    """The chains for machines given as name -> (role, address).

    To the machines: forwarded packets by the flows from roles and from networks outside, this
    computer's own by the operator's flows and those of networks that it stands in. From the
    machines: nothing is stopped; the registry's port is opened for hosts whose INPUT denies by default.
    """
    prefix = f"LAB-{settings.name}"
    between = [
        f"-s {source}/32 -d {target}/32 -p tcp -m tcp --dport {flow.port} -j RETURN"
        for flow in fleet.flows
        if flow.source != OPERATOR
        for source in _addresses(flow.source, machines)
        for target in _addresses(flow.target, machines)
        if source != target
    ]
    # ACCEPT, not RETURN: the engine itself would drop what comes from outside its bridge.
    from_outside = [
        f"-s {net} -d {target}/32 -p tcp -m tcp --dport {flow.port} -j ACCEPT"
        for flow in fleet.flows
        for net in fleet.outside.get(flow.source, ())
        for target in _addresses(flow.target, machines)
    ]
    operator = [
        f"-d {target}/32 -p tcp -m tcp --dport {flow.port} -j RETURN"
        for flow in fleet.flows
        if flow.source == OPERATOR or _holds(fleet.outside.get(flow.source, ()), settings.host_address)
        for target in _addresses(flow.target, machines)
    ]
    registry = f"-d {settings.host_address}/32 -p tcp -m tcp --dport {settings.registry_port} -j ACCEPT"
    return [
        Chain(prefix, "DOCKER-USER", f"-o {settings.bridge}", _denying(between + from_outside)),
        Chain(f"{prefix}-OPERATOR", "OUTPUT", f"-o {settings.bridge}", _denying(operator)),
        Chain(f"{prefix}-REGISTRY", "INPUT", f"-i {settings.bridge}", (registry,)),
    ]


def ensure(wanted: list[Chain], report: Report) -> None:
    """Put the chains in place, each in one step, and hook them in."""
    for chain in wanted:
        rules = [f"-A {chain.name} {rule}" for rule in chain.rules]
        if _listed(chain.name) != rules:
            text = "\n".join(["*filter", f":{chain.name} - [0:0]", *rules, "COMMIT", ""])
            shell.run(["iptables-restore", "--wait", "--noflush"], stdin=text.encode())
            report.changed(f"firewall {chain.name}: {len(rules)} rules")
        if not shell.succeeds(["iptables", "--wait", "-C", *chain.hook.split()]):
            shell.run(["iptables", "--wait", "-I", *chain.hook.split()])
            report.changed(f"firewall {chain.name} hooked into {chain.hooked_into}")


def remove(wanted: list[Chain], report: Report) -> None:
    """Take the chains out, hooks first."""
    for chain in wanted:
        while shell.succeeds(["iptables", "--wait", "-D", *chain.hook.split()]):
            pass
        if _listed(chain.name) is not None:
            shell.run(["iptables", "--wait", "-F", chain.name])
            shell.run(["iptables", "--wait", "-X", chain.name])
            report.changed(f"firewall {chain.name} removed")


def _holds(networks: Iterable[IPv4Network], address: IPv4Address) -> bool:
    return any(address in network for network in networks)


def _denying(rules: list[str]) -> tuple[str, ...]:
    return (_REPLIES, *dict.fromkeys(rules), "-j DROP")


def _addresses(role: str, machines: Mapping[str, tuple[str, IPv4Address]]) -> Iterator[IPv4Address]:
    for _, (machine_role, address) in sorted(machines.items()):
        if role in (machine_role, EVERY_ROLE):
            yield address


def _listed(chain: str) -> list[str] | None:
    done = shell.attempt(["iptables", "--wait", "-S", chain])
    if done.returncode:
        return None
    return [line for line in done.stdout.decode().splitlines() if line.startswith("-A")]
