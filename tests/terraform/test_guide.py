"""docs/aws.md against what it describes: costs, variables, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.model import load
from tests.terraform.hcl import named_blocks

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "aws.md"
TEXT = GUIDE.read_text()
FLEET = load(ROOT / "fleet.yml")
HOURS_A_MONTH = 730


def table(first_cell: str) -> dict[str, list[str]]:
    """The rows of the table whose head starts with this cell, by their first cell."""
    body = re.search(rf"^\| {re.escape(first_cell)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert body, f"docs/aws.md has no table '{first_cell}'"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.group(1).splitlines()]
    return {row[0].strip("| "): row[1:] for row in rows}


def quantities() -> dict[str, int]:
    """What the default fleet rents: machines by type, GiB, addresses."""
    rented = {"gp3": 0, "public IPv4 address": 0}
    for role in FLEET.roles.values():
        rented[role.instance_type] = rented.get(role.instance_type, 0) + role.count
        rented["gp3"] += role.count * (role.root_disk_gib + (role.data_disk_gib or 0))
        rented["public IPv4 address"] += role.count
    return rented


def test_the_cost_is_the_default_fleet_s() -> None:
    prices = {what: (float(row[0]), row[1]) for what, row in table("Price").items()}
    rows = table("The default fleet")
    total = rows.pop("**Total**")[-1]
    assert {what: int(row[0]) for what, row in rows.items()} == quantities()
    sums = {}
    for what, quantity in quantities().items():
        price, unit = prices[what]
        sums[what] = quantity * price * (HOURS_A_MONTH if unit == "hour" else 1)
        assert float(rows[what][1]) == pytest.approx(sums[what], abs=0.005), what
    assert float(total.strip("* |")) == pytest.approx(sum(sums.values()), abs=0.005)


def test_the_quota_that_it_asks_for_is_enough() -> None:
    """Every size of t3 up to large has 2 vCPUs."""
    machines = sum(role.count for role in FLEET.roles.values())
    sizes = {role.instance_type for role in FLEET.roles.values()}
    assert sizes <= {f"t3.{size}" for size in ("nano", "micro", "small", "medium", "large")}
    assert f"has {machines} machines with 2 vCPUs each, which are {2 * machines}." in " ".join(TEXT.split())
    asked = re.search(r"--quota-code L-1216C47A --desired-value (\d+)", TEXT)
    assert asked
    assert int(asked.group(1)) >= 2 * machines


def test_the_settings_are_the_variables() -> None:
    assert {name.strip("`") for name in table("Variable")} == set(
        named_blocks(ROOT / "terraform", "variable")
    )


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"terraform/[\w./-]+\.(?:py|json|example)|inventories/aws", TEXT))
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_it_says_what_has_not_run() -> None:
    assert "**Nothing here has run against AWS yet.**" in TEXT
