"""The ledger answers what the oracle answers; both answer what a pencil does."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from ledger_cases import Case
from ledger_oracle import oracle
from ledger_product import CASES, PARTS, compare, product

Answer = Callable[[Case], dict[str, Any]]


@pytest.mark.parametrize("part", range(PARTS))
def test_the_oracle_agrees(part: int) -> None:
    """On the even seeds; test_processor_ledger_laws.py has the odd ones, on another core."""
    compare(range(2 * part, CASES, 2 * PARTS))


def ask_oracle(case: Case) -> dict[str, Any]:
    return oracle(case.events, case.catalog, **case.question)


@pytest.fixture(params=[ask_oracle, product], ids=["oracle", "product"])
def ask(request: pytest.FixtureRequest) -> Answer:
    """Either side."""
    answer: Answer = request.param
    return answer


def at(second: float) -> str:
    """A second of a morning, to the microsecond."""
    return f"2026-01-01T12:00:{second:09.6f}Z"


def reading(second: float, **fields: Any) -> dict[str, Any]:
    return {"ts": at(second), "price_per_hour_usd": 0.85, **fields}


def usage(second: float, model: str = "m", tokens: int = 1440, **fields: Any) -> dict[str, Any]:
    return {"ts": at(second), "model": model, "prompt_tokens": tokens, "completion_tokens": 0, **fields}


def case(*events: dict[str, Any], catalog: dict[str, Any] | None = None, **question: Any) -> Case:
    """About the minute after noon."""
    asked = {"start": at(0), "end": at(59), "step": None, "group_by": ["model"], "basis": "covered"}
    return Case(list(events), catalog or {}, asked | {"gap_seconds": 30, "default_price": 0.85} | question)


def costs(answer: dict[str, Any]) -> list[tuple[Any, float | None]]:
    """The first part of each row's key, and its cost."""
    rows = [(next(iter(row["key"].values())), row["cost_usd"]) for row in answer["rows"]]
    return [(key, None if cost is None else float(cost)) for key, cost in rows]


HALF_MINUTE = 0.007083333333


def test_a_silent_gpu_pays_nothing_and_no_other_pays_for_it(ask: Answer) -> None:
    answer = ask(
        case(reading(0, uuid="B", host="h", gpu_index=0), usage(1, gpu_uuid="A", host="h", gpu_index=0))
    )
    assert costs(answer) == [("m", None)]
    assert answer["rows"][0]["tokens"]["unpriced"] == 1440
    assert float(answer["idle"]["fleet_usd"]) == HALF_MINUTE


def test_a_gpu_named_by_uuid_or_by_place_is_one(ask: Answer) -> None:
    answer = ask(
        case(
            reading(0, uuid="A", host="h", gpu_index=0),
            usage(1, "new", gpu_uuid="A"),
            usage(2, "old", host="h", gpu_index=0),
        )
    )
    assert costs(answer) == [("new", 0.003541666666), ("old", 0.003541666667)]


def test_two_gpus_of_one_index_share(ask: Answer) -> None:
    answer = ask(
        case(
            reading(0, uuid="A", host="h", gpu_index=0),
            reading(0, uuid="B", host="h", gpu_index=0),
            usage(1, host="h", gpu_index=0),
            group_by=["gpu"],
        )
    )
    assert costs(answer) == [("A", HALF_MINUTE), ("B", HALF_MINUTE)]
    assert [row["tokens"]["total"] for row in answer["rows"]] == [720, 720]


@pytest.mark.parametrize("order", [(1, 3), (3, 1)])
def test_of_equal_times_the_order_of_arrival_does_not_count(ask: Answer, order: tuple[int, int]) -> None:
    readings = [reading(0, uuid="A", price_per_hour_usd=price, event_id=f"id-{price}") for price in order]
    assert float(ask(case(*readings))["total"]["cost_usd"]) == 0.025


def test_events_and_bounds_have_one_grain(ask: Answer) -> None:
    event = usage(0.0005, gpu_uuid="A")
    parts = [("00:00:00", at(0.0009)), (at(0.0009), at(59))]
    tokens = []
    for start, end in parts:
        start = start if start.startswith("2026") else f"2026-01-01T{start}Z"
        tokens.append(ask(case(event, start=start, end=end))["total"]["tokens"]["total"])
    assert tokens == [0, 1440]


def test_names_that_join_to_one_text_are_not_one_gpu(ask: Answer) -> None:
    answer = ask(
        case(
            reading(0, host="a", gpu_index=0, name="b/1/c"),
            reading(0, host="a/0/b", gpu_index=1, name="c"),
            reading(0, gpu_index=0),
            reading(0, host="unknown", gpu_index=0),
        )
    )
    assert Decimal(answer["coverage"]["covered_seconds"]) == 120


def test_a_reading_without_utilization_counts(ask: Answer) -> None:
    answer = ask(case({"ts": at(0), "uuid": "MIG-1", "utilization": None}))
    assert float(answer["total"]["cost_usd"]) == HALF_MINUTE


def test_a_request_is_not_counted_by_the_engine_and_by_the_gateway(ask: Answer) -> None:
    answer = ask(
        case(
            reading(0, uuid="A"),
            usage(1, gpu_uuid="A", tokens=1000),
            usage(1, gpu_uuid="A", tokens=1000, team="red", measured_by="gateway"),
            group_by=["team"],
        )
    )
    assert costs(answer) == [("red", HALF_MINUTE)]
    assert answer["total"]["tokens"]["total"] == 1000
    assert answer["total"]["tokens"]["requests"] == 1


def test_tokens_of_an_interval_lie_in_its_hours(ask: Answer) -> None:
    event = usage(30, tokens=3600, interval_seconds=60)
    answer = ask(case(event, start="2026-01-01T11:00:00Z", end=at(59), step="hour"))
    assert [row["tokens"]["total"] for row in answer["rows"]] == [1800, 1800]


def test_leased_is_covered_and_unreported(ask: Answer) -> None:
    catalog = {"leases": [{"selector": {"uuid": "A"}, "from": at(0), "to": at(50)}]}
    answer = ask(case(reading(0, uuid="A"), catalog=catalog, basis="leased"))
    seconds = [float(answer["coverage"][f"{name}_seconds"]) for name in ("covered", "unreported", "leased")]
    assert seconds == [30, 20, 50]
    assert float(answer["total"]["cost_usd"]) == 0.011805555555
