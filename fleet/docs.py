"""The parts of docs/ that are made from fleet.yml: machines as a Mermaid diagram, flows as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network

from fleet import sizing
from fleet.rules import EVERY_ROLE, OPERATOR
from fleet.shape import Fleet, Load, Role, machine_name

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
        *(
            f'  {name}(["{name}: {_listed(networks)}"])'
            for name, networks in fleet.outside.items()
            if networks
        ),
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
        if fleet.outside.get(flow.source) == ():
            continue
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
        for source in (OPERATOR, *fleet.outside, *fleet.roles)
    ]
    served = [
        [role, str(port), name] for role, spec in fleet.roles.items() for name, port in spec.ports.items()
    ]
    outside = [
        [name, _listed(networks) or "none: closed", _wanted(fleet, name)]
        for name, networks in fleet.outside.items()
    ]
    tables = [_table(["from, to", *fleet.roles], matrix), _table(["Role", "Port", "What for"], served)]
    if outside:
        tables.append(_table(["Outside the fleet", "Networks", "Flows"], outside))
    return "\n".join(tables)


def _listed(networks: Iterable[IPv4Network]) -> str:
    return ", ".join(map(str, networks))


def _wanted(fleet: Fleet, name: str) -> str:
    """What the flows of a network outside open, once it is not empty."""
    return ", ".join(f"{flow.target} {flow.port}" for flow in fleet.flows if flow.source == name) or "none"


def _open_ports(fleet: Fleet, source: str, target: str) -> list[int]:
    """The ports open from one role (or the operator, or a network outside) to another."""
    if fleet.outside.get(source) == ():
        return []
    sources = {source, EVERY_ROLE} if source in fleet.roles else {source}
    return sorted(
        {
            flow.port
            for flow in fleet.flows
            if flow.source in sources and flow.target in (target, EVERY_ROLE) and fleet.connects(flow)
        }
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def sizes(fleet: Fleet) -> str:
    """What MongoDB holds by load and days, what Kafka holds by load, and what this fleet asks for."""
    kept = fleet.retention
    store = [
        [
            f"{rate:g}",
            *(_gib(sizing.store_gib(_half_each(rate), days, kept.rollup_years)) for days in _DAYS),
        ]
        for rate in _RATES
    ]
    kafka = [
        [f"{rate:g}", *(_gib(sizing.kafka_gib(_half_each(rate), hours)) for hours in _HOURS)]
        for rate in _RATES
    ]
    load = fleet.load_events_per_second
    own = [
        [
            "MongoDB",
            _gib(sizing.store_gib(load, kept.raw_days, kept.rollup_years)),
            f"{sizing.disk_gib(fleet.roles['mongo'])}",
        ],
        ["Kafka", _gib(sizing.topics_gib(fleet)), f"{sizing.disk_gib(fleet.roles['kafka'])}"],
    ]
    return "\n".join(
        [
            f"GiB in MongoDB, roll-ups of {kept.rollup_years} years among them:\n",
            _table(["Events a second", *(f"{days} days" for days in _DAYS)], store),
            "GiB in Kafka, on each broker:\n",
            _table(["Events a second", *(f"{hours} hours" for hours in _HOURS)], kafka),
            f"This fleet, at {load.gpu_metrics:g} of gpu_metrics and {load.token_usage:g} of token_usage:\n",
            _table(["", "GiB asked for", "GiB of disk"], own),
        ]
    )


def _half_each(rate: float) -> Load:
    return Load(gpu_metrics=rate / 2, token_usage=rate / 2)


def _gib(gib: float) -> str:
    return f"{gib:,.0f}" if gib >= 10 else f"{gib:.1f}"


_RATES = (1, 10, 100, 1_000)
_DAYS = (7, 30, 90, 365)
_HOURS = (24, 168, 336)

PARTS: dict[str, Callable[[Fleet], str]] = {
    "architecture.md": machines,
    "network.md": flows,
    "sizing.md": sizes,
}
"""The pages of docs/ that have such a part."""
