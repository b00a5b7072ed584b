"""The parts of docs/ that are made from fleet.yml: machines as a Mermaid diagram, flows as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fleet.rules import EVERY_ROLE, OPERATOR
from fleet.shape import Fleet, Role, machine_name

BEGIN = "<!-- Made from fleet.yml by `fleet docs`: do not edit. -->\n"
END = "<!-- End of what is made from fleet.yml. -->\n"


def updated(page: str, part: str) -> str:
    """The page's text, with this part between the two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"The page has no place for what is made: put these lines there.\n{BEGIN}{END}")
    return f"{before}{BEGIN}\n{part}\n{END}{after}"


def machines(fleet: Fleet) -> str:
    """Machines by role, and who may reach whom on which port."""
    lines = [
        "flowchart LR",
        f"  {OPERATOR}([{OPERATOR}])",
        f'  subgraph subnet["{fleet.project}: subnet {fleet.network.subnet_cidr}"]',
        *(line for name, role in fleet.roles.items() for line in _role(name, role)),
        "  end",
        *_edges(fleet),
    ]
    return "".join(f"{line}\n" for line in ("```mermaid", *lines, "```"))


def _role(name: str, role: Role) -> Iterator[str]:
    yield f'    subgraph {name}["{name} ({role.instance_type}, {role.memory_mib} MiB)"]'
    ports = [f"{port} {key}" for key, port in role.ports.items()]
    disks = f"root {role.root_disk_gib} GiB" + (
        f", data {role.data_disk_gib} GiB" if role.data_disk_gib else ""
    )
    for number in range(1, role.count + 1):
        machine = machine_name(name, number)
        yield f'      {machine}["{"<br>".join([machine, *ports, disks])}"]'
    yield "    end"


def _edges(fleet: Fleet) -> Iterator[str]:
    for flow in fleet.flows:
        if (flow.source, flow.target) == (OPERATOR, EVERY_ROLE):
            yield f"  {OPERATOR} -.->|{flow.port}| subnet"
            continue
        for source in fleet.roles if flow.source == EVERY_ROLE else [flow.source]:
            for target in fleet.roles if flow.target == EVERY_ROLE else [flow.target]:
                if source != target:
                    yield f"  {source} -->|{flow.port}| {target}"


def flows(fleet: Fleet) -> str:
    """Who reaches whom on which ports, and what each port is for."""
    matrix = [
        [
            source,
            *(", ".join(map(str, _open_ports(fleet, source, target))) or "none" for target in fleet.roles),
        ]
        for source in (OPERATOR, *fleet.roles)
    ]
    served = [
        [role, str(port), name] for role, spec in fleet.roles.items() for name, port in spec.ports.items()
    ]
    tables = (_table(["from, to", *fleet.roles], matrix), _table(["Role", "Port", "What for"], served))
    return "\n".join(tables)


def _open_ports(fleet: Fleet, source: str, target: str) -> list[int]:
    """The ports open from one role (or the operator) to another."""
    sources = {source} if source == OPERATOR else {source, EVERY_ROLE}
    return sorted(
        {flow.port for flow in fleet.flows if flow.source in sources and flow.target in (target, EVERY_ROLE)}
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


PARTS: dict[str, Callable[[Fleet], str]] = {"architecture.md": machines, "network.md": flows}
"""The pages of docs/ that have such a part."""
