"""What a replay cost by model and team, as GET /cost tells it: checks, what is kept, and a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from ansible_collections.gpu_token.pipeline.plugins.filter.checks import TOKENS, Check, Result, check, reason

IDLE = {"fleet_usd": "idle: GPUs without tokens", "loaded_usd": "idle: deployments without tokens"}
HEADER = ("model", "team", "tokens", "USD", "USD per million")
TEXTS = 2  # columns that stand left


def cost_checks(registered: Result) -> list[Check]:
    """Of a loop of GET /cost over what is expected: its parts add up, and every token is in it.

    Read from the text of the answer, since Ansible would make its numbers floats.
    """
    checks = []
    for result in registered.get("results", ()):
        wanted, name = result["item"], result["item"]["name"]
        if result.get("status") != 200:
            why = (result.get("json") or {}).get("detail") or reason(result)
            checks += [check(f"{name} {what}", False, why) for what in ("costs add up", "tokens by team")]
            continue
        answer = json.loads(result["content"], parse_float=Decimal)
        used = sum(row["cost_usd"] or 0 for row in answer["rows"])
        idle, total = sum(answer["idle"].values()), answer["total"]["cost_usd"]
        counted = sum(
            row["tokens"]["total"]
            for row in answer["rows"]
            if row["key"]["model"] == wanted["query"]["model"]
        )
        tokens = sum(wanted[one] for one in TOKENS)
        checks += [
            check(
                f"{name} costs add up",
                used + idle == total,
                f"{_exact(used)} USD in {len(answer['rows'])} rows, {_exact(idle)} idle, "
                f"{_exact(total)} in total",
            ),
            check(f"{name} tokens by team", counted == tokens, f"{counted} of {tokens} tokens"),
        ]
    return checks


def _exact(usd: Decimal | int) -> str:
    """All its digits, and no zeros after them."""
    return f"{Decimal(usd).normalize():f}"


def costs_told(registered: Result) -> dict[str, Any]:
    """What is kept of the answer; nothing where there is none."""
    for result in registered.get("results", ()):
        if result.get("status") == 200:
            answer = result["json"]
            return {
                **{name: answer["total"][name] for name in ("start", "end")},
                "rows": [{**row["key"], **_amounts(row)} for row in answer["rows"]],
                "idle": answer["idle"],
                "total": _amounts(answer["total"]),
            }
    return {}


def _amounts(row: Mapping[str, Any]) -> dict[str, Any]:
    costs = {name: row[name] for name in ("cost_usd", "cost_per_million_tokens_usd")}
    return {"tokens": row["tokens"]["total"], **costs}


def cost_table(costs: Mapping[str, Any]) -> str:
    """What `costs_told` kept, in columns; nothing where it kept nothing."""
    if not costs:
        return ""
    lines = [HEADER, *_lines(costs)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if at < TEXTS else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return f"Cost by model and team, from {costs['start']} to {costs['end']}:\n{table}\n"


def _lines(costs: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in costs["rows"]:
        yield row["model"], row["team"] or "-", *_numbers(row)
    for name, title in IDLE.items():
        yield title, "", "", _usd(costs["idle"][name]), ""
    yield "total", "", *_numbers(costs["total"])


def _numbers(row: Mapping[str, Any]) -> tuple[str, ...]:
    return f"{row['tokens']:,}", _usd(row["cost_usd"]), _usd(row["cost_per_million_tokens_usd"])


def _usd(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6f}"


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"cost_checks": cost_checks, "costs_told": costs_told, "cost_table": cost_table}
