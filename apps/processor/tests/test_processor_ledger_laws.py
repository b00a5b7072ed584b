"""What holds of every answer of the ledger, whatever the events: parts add up, and order does not count."""

import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from ledger_cases import DIMENSIONS, Case, Maker
from ledger_product import CASES, PARTS, compare, product

TOKENS = ("uncached_prompt", "cached_prompt", "completion", "reasoning", "requests", "unpriced")
CLASSES = TOKENS[:3]
# A law asks several questions of a case.
LAW_CASES = CASES // 40


@pytest.mark.parametrize("part", range(PARTS))
def test_the_oracle_agrees(part: int) -> None:
    """On the odd seeds; test_processor_ledger_oracle.py has the even ones, on another core."""
    compare(range(2 * part + 1, CASES, 2 * PARTS))


def asked(case: Case, **question: Any) -> dict[str, Any]:
    return product(case._replace(question=case.question | question))


def pico(usd: Decimal | float | int | None) -> int:
    return round((usd or 0) * 10**12)


def sums(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Tokens and pico-USD of all rows."""
    total = dict.fromkeys(("cost", *(f"cost of {name}" for name in CLASSES), *TOKENS), 0)
    for row in rows:
        total["cost"] += pico(row["cost_usd"])
        for name in CLASSES:
            total[f"cost of {name}"] += pico(row["cost_usd_by_class"][name])
        for name in TOKENS:
            total[name] += row["tokens"][name]
    return total


@pytest.mark.parametrize("seed", range(PARTS))
def test_rows_and_idle_add_up_to_what_is_leased(seed: int) -> None:
    for number in range(seed, LAW_CASES, PARTS):
        case = Maker(number).case()
        answer = asked(case, basis="leased")
        assert sums(answer["rows"])["cost"] + sum(map(pico, answer["idle"].values())) == pico(
            answer["total"]["cost_usd"]
        ), number
        for row in answer["rows"]:
            assert sum(map(pico, row["cost_usd_by_class"].values())) == pico(row["cost_usd"]), number
        coverage = answer["coverage"]
        times = {name: pico(coverage[f"{name}_seconds"]) for name in ("leased", "covered", "unreported")}
        assert times["leased"] == times["covered"] + times["unreported"], number
        covered = asked(case, basis="covered")
        assert pico(answer["total"]["cost_usd"]) == pico(covered["total"]["cost_usd"]) + pico(
            answer["idle"]["unreported_usd"]
        ), number


@pytest.mark.parametrize("seed", range(PARTS))
def test_steps_add_up_to_the_range(seed: int) -> None:
    for number in range(seed, LAW_CASES, PARTS):
        case = Maker(number).case()
        whole = by_key(asked(case, step=None)["rows"])
        for step in ("hour", "day", "month"):
            assert by_key(asked(case, step=step)["rows"]) == whole, (number, step)


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, int]]:
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(row["key"].values())].append(row)
    return {key: sums(own) for key, own in groups.items()}


@pytest.mark.parametrize("seed", range(PARTS))
def test_groups_add_up_to_the_total_in_every_dimension(seed: int) -> None:
    for number in range(seed, LAW_CASES, PARTS):
        case = Maker(number).case()
        ungrouped = sums(asked(case, group_by=[])["rows"])
        for dimension in DIMENSIONS:
            answer = asked(case, group_by=[dimension])
            assert sums(answer["rows"]) == ungrouped, (number, dimension)
            for name in TOKENS:
                assert answer["total"]["tokens"][name] == ungrouped[name], (number, dimension)


@pytest.mark.parametrize("seed", range(PARTS))
def test_order_repetition_and_files_do_not_count(seed: int) -> None:
    for number in range(seed, LAW_CASES, PARTS):
        case = Maker(number).case()
        rng = random.Random(number)
        # Half of the readings stay without an id: then their content orders them.
        events = [
            {"event_id": f"e{place}"} | event if "model" in event or place % 2 else event
            for place, event in enumerate(case.events)
        ]
        answer = product(case, [events])
        known = [event for event in events if "event_id" in event]
        again = events + (rng.choices(known, k=rng.randrange(20)) if known else [])
        rng.shuffle(again)
        cut = sorted(rng.choices(range(len(again) + 1), k=3))
        files = [again[since:until] for since, until in zip([0, *cut], [*cut, len(again)], strict=True)]
        assert product(case, files) == answer, number
