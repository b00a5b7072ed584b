"""Who may reach whom, as tables for docs/network.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.rules import EVERY_ROLE, OPERATOR
from fleet.shape import Fleet

HEAD = """\
<!-- Generated from fleet.yml by `fleet network`: do not edit. -->
# Network

TCP ports that a machine of the row's role reaches on a machine of the column's. Anything else between
machines is dropped; machines may reach out. On AWS these are security group rules, in the lab the firewall's.

"""

TAIL = """
`tests/e2e/test_flows.py` proves it in the lab: a scan from each machine to every other finds these ports
open and the others closed, with a listener behind each, and without any one flow `make verify` fails.
"""


def document(fleet: Fleet) -> str:
    """The text of docs/network.md."""
    columns = list(fleet.roles)
    matrix = [
        [source, *(", ".join(map(str, _ports(fleet, source, target))) or "none" for target in columns)]
        for source in (OPERATOR, *fleet.roles)
    ]
    served = [
        [role, str(port), name] for role, spec in fleet.roles.items() for name, port in spec.ports.items()
    ]
    return "".join(
        [
            HEAD,
            *_table(["from, to", *columns], matrix),
            "\n",
            *_table(["Role", "Port", "What for"], served),
            TAIL,
        ]
    )


def _ports(fleet: Fleet, source: str, target: str) -> list[int]:
    """The ports open from one role (or the operator) to another."""
    sources = {source} if source == OPERATOR else {source, EVERY_ROLE}
    return sorted(
        {flow.port for flow in fleet.flows if flow.source in sources and flow.target in (target, EVERY_ROLE)}
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |\n"
