"""What budgets have spent is what /cost says, and the forecast goes by the last days."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

import pytest
from budget_cases import budgets_of
from gpu_token_contracts import moment
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.budgets.alerts import alert_id
from gpu_token_processor.budgets.budgets import Status
from gpu_token_processor.budgets.forecast import Lately, forecast_pico, lately
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.catalog import Budget, Dimension, Scope
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.exact import US_PER_DAY, US_PER_HOUR, stored_us, usd
from gpu_token_processor.selection import Selection
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_cases import Maker
from processor_fakes import FakeReads, FakeStore, metric, usage
from processor_stage import Stage
from pymongo.errors import ServerSelectionTimeoutError
from rollup_cases import Kept, book_of, bucket, documents, hours_of

CASES = 25
JANUARY, FEBRUARY = Month(2026, 1), Month(2026, 2)
# Behind all events of the cases, which are about the night from January to February 2026.
LATER_US = stored_us(datetime(2026, 4, 2, 9, 30, tzinfo=UTC))


def budget(name: str, usd_per_month: float = 1, selector: Scope | None = None, **fields: Any) -> Budget:
    return Budget(name=name, selector=selector, usd_per_month=Fraction(str(usd_per_month)), **fields)


def filled(events: Any, catalog: Any, budgets: tuple[Budget, ...]) -> FakeReads:
    store = FakeStore()
    for collection, document in documents(events):
        store.insert(collection, [document])
    return FakeReads(store, replace(parse_catalog(catalog), budgets=budgets))


@pytest.mark.parametrize("month", [JANUARY, FEBRUARY], ids=str)
def test_what_is_spent_is_what_cost_says(month: Month) -> None:
    """Also where some hours have been counted."""
    spent_by = dict.fromkeys(get_args(Dimension), 0)
    for seed in range(CASES):
        rng = random.Random(seed)
        case = Maker(seed).case()
        reads = filled(case.events, case.catalog, ())
        api = Answers(reads, 30, case.question["gap_seconds"], case.question["default_price"], None)
        range_ = Asked(moment(month.start_us), moment(month.end_us))
        expected = {}
        budgets = [budget("all")]
        total = api.cost(range_, Selection(), Shown(basis="leased")).total
        expected["all"] = total.cost_usd
        for dimension in get_args(Dimension):
            for row in api.cost(range_, Selection(), Shown(None, (dimension,), "leased")).rows:
                if (value := row.key[dimension]) is not None:
                    name = f"{dimension} {value}"
                    budgets.append(budget(name, selector=Scope(dimension, value)))
                    expected[name] = row.cost_usd or Decimal(0)
                    spent_by[dimension] += bool(row.cost_usd)
        reads.declared = replace(reads.declared, budgets=tuple(budgets))
        gap_us = round(case.question["gap_seconds"] * 1_000_000)
        hours = [hour for hour in hours_of(case.events, margin=30) if rng.random() < 0.9]
        kept = Kept({hour: bucket(reads, book_of(reads, case), hour, gap_us) for hour in hours})
        found = budgets_of(reads, hours_of(case.events), kept, gap_us, case.question["default_price"])
        statuses = found.of(month, LATER_US).statuses
        assert {one.budget.name: usd(one.spent_pico) for one in statuses} == expected, seed
        assert all(one.forecast_pico in (one.spent_pico, None) for one in statuses), "the month is over"
    assert all(spent_by.values())


@given(
    since=st.integers(0, 40 * 24).map(lambda hours: hours * US_PER_HOUR),
    lasted=st.integers(0, 40 * 24).map(lambda hours: hours * US_PER_HOUR),
)
def test_lately_is_seven_full_days_or_all_there_is(since: int, lasted: int) -> None:
    upto = since + lasted
    start, end = lately(since, upto)
    assert since <= start <= end <= upto
    if (start, end) != (since, upto):
        assert end - start == 7 * US_PER_DAY
        assert start % US_PER_DAY == end % US_PER_DAY == 0
        assert upto - end < US_PER_DAY
    else:
        assert end - start < 8 * US_PER_DAY


money = st.integers(0, 10**20)
left = st.integers(0, 31 * US_PER_DAY)
late = st.integers(1, 7 * US_PER_DAY).map(lambda us: Lately(0, us))


@given(spent=money, more=money, of_late=money, during=late, left_us=left)
def test_a_forecast_is_never_below_what_is_spent_and_grows_with_it(
    spent: int, more: int, of_late: int, during: Lately, left_us: int
) -> None:
    found = forecast_pico(spent, of_late, during, left_us)
    assert found is not None
    assert found >= spent
    assert forecast_pico(spent, of_late, during, 0) == spent
    assert forecast_pico(spent + more, of_late, during, left_us) == found + more
    assert (forecast_pico(spent, of_late + more, during, left_us) or 0) >= found
    assert (forecast_pico(spent, of_late, during, left_us + 1) or 0) >= found
    assert forecast_pico(spent, of_late, Lately(5, 5), left_us) is None


@settings(max_examples=60, deadline=None)
@given(
    since=st.integers(0, 30 * 24),
    now_us=st.integers(FEBRUARY.start_us, FEBRUARY.end_us - 1),
    usd_per_hour=st.integers(1, 1_000),
)
def test_what_costs_the_same_each_hour_is_foreseen_exactly(
    since: int, now_us: int, usd_per_hour: int
) -> None:
    """A lease that nobody uses costs the same each hour, from some hour of the month or the one before on."""
    since_us = JANUARY.start_us + 20 * US_PER_DAY + since * US_PER_HOUR
    lease = {"selector": {"uuid": "GPU-a"}, "from": moment(since_us)}
    price = {"selector": {"uuid": "GPU-a"}, "usd_per_hour": usd_per_hour}
    reads = filled([], {"leases": [lease], "prices": [price]}, (budget("all", 10),))
    found = budgets_of(reads, range(since_us // US_PER_HOUR, since_us // US_PER_HOUR + 1))
    (status,) = found.of(FEBRUARY, now_us).statuses
    since_us = max(since_us, FEBRUARY.start_us)
    upto_us = now_us - now_us % US_PER_HOUR
    pico_per_hour = usd_per_hour * 10**12
    assert status.spent_pico == max(0, upto_us - since_us) // US_PER_HOUR * pico_per_hour
    whole = (FEBRUARY.end_us - since_us) // US_PER_HOUR * pico_per_hour
    assert status.forecast_pico == (whole if upto_us > since_us else None)


@pytest.mark.parametrize(
    ("spent_usd", "state", "crossed"),
    [
        (0, "within", []),
        (79.99, "within", []),
        (80, "warning", [0.8]),
        (99.99, "warning", [0.8]),
        (100, "exceeded", [0.8, 1]),
        (1000, "exceeded", [0.8, 1]),
    ],
)
def test_states(spent_usd: float, state: str, crossed: list[float]) -> None:
    status = Status(budget("b", 100), round(spent_usd * 10**12), None)
    assert (status.state, status.crossed) == (state, [Fraction(str(share)) for share in crossed])


def test_without_a_threshold_below_it_a_budget_is_within_until_it_is_exceeded() -> None:
    silent = budget("b", 100, thresholds=())
    assert [Status(silent, pico, None).state for pico in (10**14 - 1, 10**14)] == ["within", "exceeded"]
    late = budget("b", 100, thresholds=(Fraction(6, 5),))
    assert [Status(late, pico, None).crossed for pico in (10**14, 12 * 10**13)] == [[], [Fraction(6, 5)]]


def test_budgets_of_a_month_that_is_over_are_those_of_its_end() -> None:
    kept = budget("kept", valid_to_us=FEBRUARY.start_us + 1)
    ended = budget("ended", valid_to_us=FEBRUARY.start_us)
    begun = budget("begun", valid_from_us=FEBRUARY.start_us)
    found = budgets_of(filled([], {}, (kept, ended, begun)))

    def names(month: Month, now_us: int) -> list[str]:
        return [one.budget.name for one in found.of(month, now_us).statuses]

    assert names(JANUARY, FEBRUARY.start_us + 5) == ["ended", "kept"]
    assert names(FEBRUARY, FEBRUARY.start_us) == ["begun", "kept"]
    assert names(FEBRUARY, FEBRUARY.start_us + 1) == ["begun"]


# One reading holds for 30 s: at this price they cost 600 USD.
COSTLY = {"price_per_hour_usd": 72_000}


@pytest.fixture
def stage() -> Stage:
    """Five days on which the team search used a GPU, and one on which another GPU was idle."""
    stage = Stage()
    for day in range(4, 9):
        ts = f"2026-01-{day:02}T12:00:00Z"
        stage.store.insert(
            "gpu_metrics",
            [one | {"_id": ts} for _, one in documents([metric(ts=ts, uuid="GPU-a", host=None, **COSTLY)])],
        )
        used = usage(ts=ts, gpu_uuid="GPU-a", host=None, gpu_index=None, team="search", model="m")
        stage.store.insert("token_usage", [one | {"_id": ts} for _, one in documents([used])])
    idle = metric(ts="2026-01-05T00:00:00Z", uuid="GPU-b", host=None, gpu_index=1, **COSTLY)
    stage.store.insert("gpu_metrics", [one | {"_id": "idle"} for _, one in documents([idle])])
    stage.reads.declared = parse_catalog(
        {
            "budgets": [
                {
                    "name": "search-team",
                    "selector": {"team": "search"},
                    "usd_per_month": 5_000,
                    "thresholds": [0.5, 0.8, 1],
                },
                {"name": "fleet", "usd_per_month": 60_000},
            ]
        }
    )
    stage.now = datetime(2026, 1, 11, 0, 40, tzinfo=UTC)
    return stage


def test_the_answer_is_the_example_of_the_openapi_document(stage: Stage) -> None:
    search_team = stage.reads.declared.budgets[0]
    crossed_at = datetime(2026, 1, 8, 13, 0, 21, tzinfo=UTC)
    stage.crossed_at[alert_id(JANUARY, search_team, Fraction(1, 2))] = crossed_at
    schema = stage.get("/openapi.json")["components"]["schemas"]["BudgetsAnswer"]
    assert [stage.get("/budgets")] == schema["examples"]


def test_without_budgets_there_is_a_month_all_the_same(stage: Stage) -> None:
    stage.reads.declared = parse_catalog({})
    answer = stage.get("/budgets")
    assert answer["budgets"] == []
    assert answer["month"]["counted_until"] == "2026-01-11T00:00:00Z"


@pytest.mark.parametrize(("second", "forecast_usd"), [(59, None), (60, 0.0)])
def test_in_the_first_hour_of_a_month_there_is_nothing_to_go_by(
    stage: Stage, second: int, forecast_usd: float | None
) -> None:
    stage.now = datetime(2026, 2, 1, 0, 59, tzinfo=UTC) + timedelta(seconds=second)
    for one in stage.get("/budgets")["budgets"]:
        assert (one["spent_usd"], one["forecast_usd"]) == (0.0, forecast_usd)


def test_parameters_are_refused_and_a_silent_store_is_a_problem(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = stage.client.get("/budgets", params={"month": "2026-01"})
    assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "month")

    def fail() -> None:
        raise ServerSelectionTimeoutError("mongo-1:27017")

    monkeypatch.setattr(stage.reads, "catalog", fail)
    assert stage.client.get("/budgets").status_code == 503
