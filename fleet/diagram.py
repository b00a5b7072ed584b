"""fleet.yml as a picture: machines by role, and who may reach whom on which port (Graphviz DOT)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from fleet.rules import EVERY_ROLE, OPERATOR
from fleet.shape import Fleet, Flow, Role, machine_name

HEAD = """\
// Generated from fleet.yml by `fleet diagram`: do not edit.
digraph fleet {
  graph [rankdir=LR, fontname="Helvetica", nodesep=0.3, ranksep=1.3, compound=true]
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled", fillcolor=white]
  edge [fontname="Helvetica", fontsize=10, color="#475569"]
"""


def architecture(fleet: Fleet) -> str:
    """The DOT text."""
    lines = [f"{OPERATOR} [shape=oval, fillcolor={quoted('#e2e8f0')}]", *_subnet(fleet), *_edges(fleet)]
    return HEAD + "\n".join(indented(lines)) + "\n}\n"


def _subnet(fleet: Fleet) -> Iterator[str]:
    title = quoted(f"{fleet.project}: subnet {fleet.network.subnet_cidr}")
    yield "subgraph cluster_subnet {"
    yield f"  graph [label={title}, fontsize=13, color={quoted('#94a3b8')}]"
    for name, role in fleet.roles.items():
        yield from indented(_role(name, role))
    yield "}"


def _role(name: str, role: Role) -> Iterator[str]:
    title = quoted(f"{name} ({role.instance_type}, {role.memory_mib} MiB)")
    ports = [f"{port} {key}" for key, port in role.ports.items()]
    data = f" + data {role.data_disk_gib} GiB" if role.data_disk_gib else ""
    yield f"subgraph cluster_{name} {{"
    yield f"  graph [label={title}, fontsize=12, style=filled, fillcolor={quoted('#f1f5f9')}]"
    for number in range(1, role.count + 1):
        machine = machine_name(name, number)
        text = "\n".join([machine, *ports, f"root {role.root_disk_gib} GiB{data}"])
        yield f"  {quoted(machine)} [label={quoted(text)}]"
    yield "}"


def _edges(fleet: Fleet) -> Iterator[str]:
    """One edge a flow and pair of roles, between first machines and cut off at the roles' borders."""
    for flow in fleet.flows:
        if (flow.source, flow.target) == (OPERATOR, EVERY_ROLE):
            first = quoted(machine_name(next(iter(fleet.roles)), 1))
            label = quoted(f"{flow.port} to all")
            yield f"{OPERATOR} -> {first} [label={label}, lhead=cluster_subnet, style=dashed]"
            continue
        label = quoted(str(flow.port))
        for source, target in _pairs(fleet, flow):
            head = quoted(machine_name(target, 1))
            if source == OPERATOR:
                yield f"{OPERATOR} -> {head} [label={label}, lhead=cluster_{target}]"
            else:
                tail = quoted(machine_name(source, 1))
                yield f"{tail} -> {head} [label={label}, lhead=cluster_{target}, ltail=cluster_{source}]"


def _pairs(fleet: Fleet, flow: Flow) -> Iterator[tuple[str, str]]:
    for source in fleet.roles if flow.source == EVERY_ROLE else [flow.source]:
        for target in fleet.roles if flow.target == EVERY_ROLE else [flow.target]:
            if source != target:
                yield source, target


def quoted(text: str) -> str:
    """A DOT string; DOT escapes quotes and line breaks as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def indented(lines: Iterable[str]) -> list[str]:
    """The lines, one level further in."""
    return [f"  {line}" for line in lines]
