"""The network is least-privilege: each flow of fleet.yml is needed, and nothing else is open.

A network outside the fleet is a network namespace of this computer, whose packets are routed to the machines.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fleet.model import Flow
from fleet.rules import EVERY_ROLE, OPERATOR, SSH_PORT

from . import scan
from .environment import FLEET, ROLES, enforced, listing
from .runner import ROOT, play

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]
# Docker's API, Kafka's controller, web servers, and neighbours of what is served.
FURTHER_PORTS = {80, 443, 2375, 2376, 8081, 9093, 27018}
# Nothing in the fleet needs the flows of networks outside.
WITHIN = [flow for flow in FLEET.flows if flow.source not in FLEET.outside and FLEET.connects(flow)]
# SSH's own connections of the last run are not taken up.
FRESH_SSH = {"ansible_ssh_args": "-o ControlMaster=no -o ControlPath=none"}
# A network for documentation, which nobody uses.
OUTSIDE = IPv4Network("198.51.100.0/24")
NAMESPACE, OUR_END, THEIR_END = "e2e-outside", "e2e-out-host", "e2e-out-guest"
LISTEN = """
import signal, socket, sys
listeners = []
for port in map(int, sys.argv[2:]):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((sys.argv[1], port))
    listener.listen()
    listeners.append(listener)
signal.pause()
"""


@dataclass(frozen=True, order=True)
class Knock:
    """A try to reach a port of a machine, from another machine or from the operator."""

    source: str
    target: str
    port: int


def expected() -> set[Knock]:
    """What fleet.yml opens."""
    return {
        Knock(source, target, flow.port)
        for flow in FLEET.flows
        if flow.source not in FLEET.outside
        for source in ([OPERATOR] if flow.source == OPERATOR else machines_of(flow.source))
        for target in machines_of(flow.target)
        if source != target
    }


def machines_of(role: str) -> list[str]:
    """The machines of a role, or of all."""
    return [name for name, own in ROLES.items() if role in (own, EVERY_ROLE)]


@pytest.fixture(scope="module")
def addresses() -> dict[str, str]:
    """Machine -> address."""
    return {name: str(machine.address) for name, machine in listing().items()}


@pytest.fixture
def ports(on_machine: OnMachine, addresses: dict[str, str]) -> Iterator[list[int]]:
    """The ports to knock at; on every machine something listens on each of them."""
    heard = {name: listening(on_machine, name) for name in ROLES}
    wanted = sorted(
        {SSH_PORT, *FURTHER_PORTS}
        | {port for role in FLEET.roles.values() for port in role.ports.values()}
        | {port for sockets in heard.values() for _, port in sockets}
    )
    for name, address in addresses.items():
        taken = {port for host, port in heard[name] if host in ("*", "0.0.0.0", "[::]", address)}
        free = [str(port) for port in wanted if port not in taken]
        service = ["systemd-run", "--quiet", "--collect", "--unit=listeners"]
        on_machine(name, *service, "python3", "-c", LISTEN, address, *free)
    yield wanted
    for name in addresses:
        on_machine(name, "systemctl", "stop", "listeners")


def listening(on_machine: OnMachine, machine: str) -> set[tuple[str, int]]:
    """Address and port of every socket that listens on a machine."""
    sockets = [line.split()[3] for line in on_machine(machine, "ss", "-ltnH").splitlines()]
    return {(host.partition("%")[0], int(port)) for host, _, port in (s.rpartition(":") for s in sockets)}


def answers(
    on_machine: OnMachine, addresses: dict[str, str], ports: list[int], source: str, targets: list[str]
) -> dict[Knock, str]:
    """What each port of each target answers to the source."""
    knocks = [Knock(source, target, port) for target in targets for port in ports]
    places = [(addresses[knock.target], knock.port) for knock in knocks]
    program = Path(scan.__file__).read_text()
    if source == OPERATOR:
        said = asyncio.run(scan.scan(places))
    elif source == NAMESPACE:
        command = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", program, json.dumps(places)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    else:
        said = json.loads(on_machine(source, "python3", "-c", program, json.dumps(places)))
    return dict(zip(knocks, said, strict=True))


def matrix(on_machine: OnMachine, addresses: dict[str, str], ports: list[int]) -> dict[Knock, str]:
    """From the operator and from every machine to every other."""

    def row(source: str) -> dict[Knock, str]:
        targets = [name for name in ROLES if name != source]
        return answers(on_machine, addresses, ports, source, targets)

    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(row, [OPERATOR, *ROLES]))
    return {knock: answer for found in rows for knock, answer in found.items()}


def test_the_flows_are_open_and_nothing_else(
    on_machine: OnMachine, addresses: dict[str, str], ports: list[int]
) -> None:
    for name in ROLES:
        deadline = time.monotonic() + 30
        while set(answers(on_machine, addresses, ports, name, [name]).values()) != {"open"}:
            assert time.monotonic() < deadline, f"{name} does not listen on all of {ports}"
    found = matrix(on_machine, addresses, ports)
    report = [
        {"from": knock.source, "to": knock.target, "port": knock.port, "answer": answer}
        for knock, answer in sorted(found.items())
    ]
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "flows.json").write_text(json.dumps(report, indent=1) + "\n")
    assert {knock for knock, answer in found.items() if answer == "open"} == expected()
    assert {answer for knock, answer in found.items() if knock not in expected()} == {"silent"}


def test_the_scan_sees_a_hole(on_machine: OnMachine, addresses: dict[str, str], ports: list[int]) -> None:
    hole = Flow.model_validate({"from": "producers", "to": "mongo", "port": 27017})
    with enforced([*FLEET.flows, hole]):
        found = matrix(on_machine, addresses, ports)
    holes = {
        Knock(source, target, 27017) for source in machines_of("producers") for target in machines_of("mongo")
    }
    assert {knock for knock, answer in found.items() if answer == "open"} == expected() | holes


@pytest.fixture(scope="module")
def outside() -> Iterator[str]:
    """A namespace with an address in OUTSIDE, which reaches the machines by way of this computer."""
    gateway, guest = OUTSIDE[1], OUTSIDE[2]
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", OUR_END, "type", "veth", "peer", "name", THEIR_END, "netns", NAMESPACE)
        ip("address", "add", f"{gateway}/{OUTSIDE.prefixlen}", "dev", OUR_END)
        ip("link", "set", OUR_END, "up")
        ip("-n", NAMESPACE, "address", "add", f"{guest}/{OUTSIDE.prefixlen}", "dev", THEIR_END)
        ip("-n", NAMESPACE, "link", "set", THEIR_END, "up")
        ip("-n", NAMESPACE, "route", "add", "default", "via", str(gateway))
        yield NAMESPACE
    finally:
        # With the namespace goes the pair of interfaces.
        ip("netns", "delete", NAMESPACE)


def ip(*arguments: str) -> None:
    """Run the command ip."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("name", [None, *FLEET.outside])
def test_a_network_outside_reaches_what_its_flows_say(
    name: str | None, outside: str, on_machine: OnMachine, addresses: dict[str, str], ports: list[int]
) -> None:
    """None: what fleet.yml does not name reaches nothing."""
    with enforced(FLEET.flows, {name: (OUTSIDE,)} if name else {}):
        found = answers(on_machine, addresses, ports, outside, list(ROLES))
    opened = {
        Knock(outside, target, flow.port)
        for flow in FLEET.flows
        if flow.source == name
        for target in machines_of(flow.target)
    }
    assert opened or name is None
    assert {knock for knock, answer in found.items() if answer == "open"} == opened
    assert {answer for knock, answer in found.items() if knock not in opened} == {"silent"}


def failed_checks() -> set[tuple[str, str]]:
    """Machine and name of each check that failed in the last verify."""
    checks = json.loads((ROOT / "build" / "verify.json").read_text())["checks"]
    return {(check["host"], check["name"]) for check in checks if not check["passed"]}


@pytest.mark.parametrize("flow", WITHIN, ids=lambda flow: f"{flow.source}-{flow.target}-{flow.port}")
def test_without_a_flow_the_pipeline_is_not_whole(flow: Flow, on_machine: OnMachine) -> None:
    """Restart the clients: an open connection outlives the firewall rule that allowed it."""
    with enforced([other for other in FLEET.flows if other != flow]):
        if flow.source != OPERATOR:
            for machine in machines_of(flow.source):
                on_machine(machine, "docker", "restart", ROLES[machine])
        run = play("playbooks/verify.yml", **(FRESH_SSH if flow.port == SSH_PORT else {}))
    assert run.rc != 0
    failed = failed_checks()
    if (flow.source, flow.port) == (OPERATOR, SSH_PORT):
        assert failed == {(machine, "machine answers") for machine in machines_of(flow.target)}
        return
    flows = {check for check in failed if check[1].startswith(("reaches ", "open to "))}
    if flow.source == OPERATOR:
        assert flows == failed == {(machine, "open to the operator") for machine in machines_of(flow.target)}
    else:
        assert flows == {
            (source, f"reaches {target}")
            for source in machines_of(flow.source)
            for target in machines_of(flow.target)
        }
        assert failed - flows, "nothing but the knock at the port failed: is the flow needed?"
