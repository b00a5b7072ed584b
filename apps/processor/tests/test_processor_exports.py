"""Rows for finance: they add up to what /cost says, and closed months stay as they were."""

import csv
import io
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow.parquet as pq
import pytest
from closing_cases import MemoryClosings, rows_of, sums_of
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.exports import parquet
from gpu_token_processor.exports.bills import ClosingError
from gpu_token_processor.exports.days import Shape
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.exports.focus import COLUMNS
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.exact import US_PER_HOUR, exact, ratio, usd
from gpu_token_processor.ledger.written import as_csv, csv_text
from gpu_token_processor.rollups.touched import touched_hours
from gpu_token_processor.rollups.view import NO_ROLLUPS
from gpu_token_processor.selection import Selection
from ledger_cases import Case, Maker
from processor_fakes import FakeReads, FakeStore, metric, usage
from processor_stage import EXAMPLE, Stage, thirty_seconds
from rollup_cases import Kept, book_of, bucket, documents, hours_of

CASES = 30
# Behind all events of the cases, which are about the night from January to February 2026.
NOW = datetime(2026, 4, 2, 9, 30, tzinfo=UTC)
NIGHT = Asked(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))
MONTHS = [Month(2026, number) for number in (1, 2, 3, 4)]
# Of the last day of January and the first of February.
NIGHTLY_HOURS = range(
    Month(2026, 2).start_us // US_PER_HOUR - 24, Month(2026, 2).start_us // US_PER_HOUR + 24
)
MANDATORY = {
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
}
COUNTED = ("uncached_prompt", "cached_prompt", "completion", "reasoning", "total", "unpriced")
MAY_BE_NULL = {"ChargeClass", "ResourceId", "ResourceName", "ResourceType", "SubAccountId", "SubAccountName"}


def filled(case: Case) -> FakeReads:
    store = FakeStore()
    for collection, document in documents(case.events):
        store.insert(collection, [document])
    return FakeReads(store, parse_catalog(case.catalog))


def exports_of(reads: FakeReads, case: Case, closings: MemoryClosings, rollups: Any = NO_ROLLUPS) -> Exports:
    gap_us = round(case.question["gap_seconds"] * 1_000_000)
    price = exact(case.question["default_price"])
    hours = hours_of(case.events, margin=0)
    return Exports(reads, rollups, gap_us, price, closings, lambda: hours, lambda: NOW)


def test_the_rows_of_cost_are_those_of_the_answer_and_add_up_to_its_total() -> None:
    for seed in range(CASES):
        rng = random.Random(seed)
        case = Maker(seed).case()
        reads = filled(case)
        basis = rng.choice(("covered", "leased"))
        group_by = tuple(rng.sample(("model", "team", "deployment", "gpu", "tag:env"), 2))
        start, end = (
            NIGHT if rng.random() < 0.5 else Asked(datetime(2026, 1, 31, 22, 7, tzinfo=UTC), NIGHT.end)
        )
        hours = [hour for hour in hours_of(case.events) if rng.random() < 0.5]
        gap_us = round(case.question["gap_seconds"] * 1_000_000)
        kept = Kept({hour: bucket(reads, book_of(reads, case), hour, gap_us) for hour in hours})
        exports = exports_of(reads, case, MemoryClosings(), kept)
        text = "".join(exports.cost(start, end, Shape(group_by, basis)))
        api = Answers(reads, 30, case.question["gap_seconds"], case.question["default_price"], None)
        answer = api.cost(Asked(start, end), Selection(), Shown("day", group_by, basis))
        ours, theirs = (list(csv.reader(io.StringIO(each, newline=""))) for each in (text, as_csv(answer)))
        if answer.rows:
            assert ours[0] == theirs[0], seed
            assert sorted(ours) == sorted(theirs), seed
        costs = [Decimal(row["cost_usd"]) for row in rows_of(text) if row["cost_usd"]]
        assert sum(costs, Decimal(0)) == answer.total.cost_usd, seed


def as_csv_cells(content: bytes) -> list[list[str]]:
    """A Parquet file as the CSV has it."""
    table = pq.read_table(io.BytesIO(content))
    names = table.schema.names
    rows = [dict(row) for row in table.to_pylist()]
    for row in rows:
        # With as many digits as they have.
        if (cost_usd := row["cost_usd"]) is not None:
            row["cost_usd"] = usd(int(cost_usd.scaleb(12)))
        if (quotient := row["cost_per_million_tokens_usd"]) is not None:
            row["cost_per_million_tokens_usd"] = ratio(Fraction(Decimal(repr(quotient))), 1)
    text = csv_text([names, *([row[name] for name in names] for row in rows)])
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("rows_of_a_group", [3, 10_000])
def test_parquet_has_the_rows_of_the_csv_with_types(
    rows_of_a_group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS", rows_of_a_group)
    found = 0
    for seed in range(CASES):
        case = Maker(seed).case()
        exports = exports_of(filled(case), case, MemoryClosings())
        shape = Shape(("model", "team", "tag:env"), "leased")
        content = b"".join(exports.cost_parquet(NIGHT.start, NIGHT.end, shape))
        text = "".join(exports.cost(NIGHT.start, NIGHT.end, shape))
        assert as_csv_cells(content) == list(csv.reader(io.StringIO(text, newline=""))), seed
        found = max(found, pq.ParquetFile(io.BytesIO(content)).num_row_groups)
    assert (found == 1) == (rows_of_a_group == 10_000)
    schema = pq.read_schema(io.BytesIO(content))
    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "kind": "string",
        "start": "timestamp[us, tz=UTC]",
        "end": "timestamp[us, tz=UTC]",
        **dict.fromkeys(("model", "team", "tag:env"), "string"),
        **dict.fromkeys((f"{name}_tokens" for name in COUNTED), "int64"),
        "requests": "int64",
        "cost_usd": "decimal128(38, 12)",
        "cost_per_million_tokens_usd": "double",
    }


def test_an_empty_export_is_a_file_without_rows() -> None:
    exports = Exports(
        FakeReads(FakeStore()), NO_ROLLUPS, 30_000_000, exact(1), MemoryClosings(), now=lambda: NOW
    )
    day = datetime(2026, 4, 1, tzinfo=UTC)
    content = b"".join(exports.cost_parquet(day, day, Shape(("model",), "covered")))
    assert pq.read_table(io.BytesIO(content)).num_rows == 0


def billed(exports: Exports, months: list[Month] = MONTHS) -> list[dict[str, str]]:
    return [row for month in months for row in rows_of("".join(exports.focus(str(month))))]


def ledger_says(reads: FakeReads, case: Case) -> Any:
    """All months as if none were closed."""
    return sums_of(billed(exports_of(reads, case, MemoryClosings())))


def test_closed_months_stay_and_with_their_corrections_are_what_the_ledger_says() -> None:
    """Months are closed at random moments while events keep coming, and the catalogue changes.

    Whole days are counted now and then; an hour that an event comes to is not counted any more.
    """
    corrected = 0
    for seed in range(CASES):
        rng = random.Random(seed)
        case = Maker(seed).case()
        events = list(documents(case.events))
        rng.shuffle(events)
        store = FakeStore()
        reads = FakeReads(store, parse_catalog(case.catalog))
        closings = MemoryClosings()
        kept = Kept({})
        exports = exports_of(reads, case, closings, kept)
        gap_us = round(case.question["gap_seconds"] * 1_000_000)
        closable = MONTHS[rng.randrange(2) : 3]
        as_closed: dict[Month, str] = {}
        for collection, document in events:
            if closable and rng.random() < 3 / len(events):
                month = closable.pop(0)
                before = "".join(exports.focus(str(month)))
                exports.close(month)
                as_closed[month] = "".join(exports.focus(str(month)))
                assert as_closed[month] == before, seed
            store.insert(collection, [document])
            for hour in touched_hours(collection, [document], timedelta(microseconds=gap_us)):
                kept.buckets.pop(hour, None)
            if rng.random() < 0.3:
                for hour in kept.buckets.keys() ^ set(NIGHTLY_HOURS):
                    kept.buckets[hour] = bucket(reads, book_of(reads, case), hour, gap_us)
            if rng.random() < 0.05:
                reads.declared = parse_catalog(Maker(seed + 1).case().catalog)
        for month, text in as_closed.items():
            assert "".join(exports.focus(str(month))) == text, seed
        rows = billed(exports)
        assert sums_of(rows) == ledger_says(reads, case), seed
        corrections = [row for row in rows if row["ChargeClass"]]
        assert all(row["ChargePeriodStart"] < row["BillingPeriodStart"] for row in corrections), seed
        corrected += bool(corrections)
    assert corrected > CASES / 10


def test_days_that_have_not_changed_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in (Maker(seed).case() for seed in range(CASES)) if len(case.events) > 10)
    reads = filled(case)
    gap_us = round(case.question["gap_seconds"] * 1_000_000)
    days = [hour for month in MONTHS[:2] for day in month.days for hour in range(day * 24, day * 24 + 24)]
    kept = Kept({hour: bucket(reads, book_of(reads, case), hour, gap_us) for hour in days})
    exports = exports_of(reads, case, MemoryClosings(), kept)
    for month in MONTHS[:2]:
        exports.close(month)
    read: list[int] = []
    clean = kept.clean

    def watched(first: int | None, upto: int | None) -> Any:
        read.append(first or 0)
        return clean(first, upto)

    monkeypatch.setattr(kept, "clean", watched)
    for changed, expected in (([], set()), ([days[40]], {days[24]})):
        for hour in changed:
            del kept.buckets[hour]
        rows = billed(exports, [Month(2026, 3)])
        assert [row for row in rows if row["ChargeClass"]] == []
        assert set(read) & set(days) == expected


def test_all_that_is_charged_is_what_leased_gpus_cost() -> None:
    for seed in range(CASES):
        case = Maker(seed).case()
        reads = filled(case)
        rows = billed(exports_of(reads, case, MemoryClosings()))
        api = Answers(reads, 30, case.question["gap_seconds"], case.question["default_price"], None)
        # As far as hours are over.
        whole = Asked(datetime(2026, 1, 1, tzinfo=UTC), NOW.replace(minute=0))
        total = api.cost(whole, Selection(), Shown(basis="leased")).total
        costs = (Decimal(row["BilledCost"]) for row in rows)
        assert sum(costs, Decimal(0)) == total.cost_usd, seed
        tokens = sum(int(row["ConsumedQuantity"]) for row in rows if row["ConsumedUnit"] == "Tokens")
        assert tokens == total.tokens.total, seed


def test_each_row_has_what_focus_demands() -> None:
    seen = set()
    assert set(COLUMNS) >= MANDATORY
    for seed in range(CASES):
        case = Maker(seed).case()
        for row in billed(exports_of(filled(case), case, MemoryClosings())):
            assert {name for name, value in row.items() if not value} <= MAY_BE_NULL
            assert row["ChargeClass"] in ("", "Correction")
            assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"]
            assert "E" not in row["BilledCost"]
            assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]
            tags = json.loads(row["Tags"])
            assert tags.get("gpu-token-cost/team", "") == row["SubAccountId"]
            seen.add(tags["gpu-token-cost/meter"])
    assert seen == {
        "uncached_prompt",
        "cached_prompt",
        "completion",
        "fleet_idle",
        "loaded_idle",
        "unreported",
    }


def test_months_are_closed_one_after_the_other_when_they_are_over() -> None:
    reads = FakeReads(FakeStore())
    closings = MemoryClosings()
    exports = Exports(reads, NO_ROLLUPS, 30_000_000, exact(1), closings, now=lambda: NOW)
    with pytest.raises(ClosingError, match="2026-04 is not over"):
        exports.close(Month(2026, 4))
    assert exports.close(Month(2025, 12)).number == 0
    with pytest.raises(ClosingError, match="2026-02 cannot be closed before 2026-01"):
        exports.close(Month(2026, 2))
    assert exports.close(Month(2026, 1)).days == ()
    with pytest.raises(ClosingError, match="2025-12 to 2026-01 are closed, and 2026-02 is next"):
        exports.close(Month(2026, 1))


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    thirty_seconds(made)
    return made


def text_of(stage: Stage, path: str, **parameters: Any) -> str:
    response = stage.client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"].startswith("attachment; filename=")
    return response.text


def test_csv_over_http(stage: Stage) -> None:
    rows = rows_of(text_of(stage, "/export/cost.csv", group_by="model,team", **EXAMPLE))
    assert [(row["kind"], row["model"], row["total_tokens"]) for row in rows] == [
        ("used", "llama-3-70b", "86400")
    ]
    assert Decimal(rows[0]["cost_usd"]) == pytest.approx(Decimal("0.0070833"), rel=Decimal("1e-4"))
    focus = rows_of(text_of(stage, "/export/focus.csv", month="2026-01"))
    assert {(row["ResourceId"], row["SkuMeter"], row["ConsumedQuantity"]) for row in focus} >= {
        ("llama-3-70b", "Uncached prompt tokens", "60000"),
        ("llama-3-70b", "Completion tokens", "26400"),
    }


def test_parquet_over_http(stage: Stage) -> None:
    response = stage.client.get("/export/cost.parquet", params={"group_by": "model,team", **EXAMPLE})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/vnd.apache.parquet")
    assert response.headers["content-disposition"] == 'attachment; filename="cost.parquet"'
    text = text_of(stage, "/export/cost.csv", group_by="model,team", **EXAMPLE)
    assert as_csv_cells(response.content) == list(csv.reader(io.StringIO(text)))


def test_without_the_library_the_option_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    # None is what Python takes for a module that is not there.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "gpu_token_processor.exports.parquet", raising=False)
    response = stage.client.get("/export/cost.parquet", params=EXAMPLE)
    assert (response.status_code, response.json()["title"]) == (501, "Not Implemented")
    assert "processor_parquet" in response.json()["detail"]
    assert text_of(stage, "/export/cost.csv", **EXAMPLE)


def test_without_parameters_it_is_the_running_month(stage: Stage) -> None:
    stage.now = datetime(2026, 1, 20, 7, 12, tzinfo=UTC)
    assert [row["end"] for row in rows_of(text_of(stage, "/export/cost.csv"))] == ["2026-01-02T00:00:00Z"]
    assert {row["BillingPeriodEnd"] for row in rows_of(text_of(stage, "/export/focus.csv"))} == {
        "2026-02-01T00:00:00Z"
    }
    stage.now = datetime(2026, 3, 1, tzinfo=UTC)
    assert rows_of(text_of(stage, "/export/cost.csv")) == []


@pytest.mark.parametrize(
    ("path", "parameters", "name"),
    [
        ("/export/cost.csv", {"step": "day"}, "step"),
        ("/export/cost.parquet", {"step": "day"}, "step"),
        ("/export/focus.csv", {"month": "2026-13"}, "month"),
        ("/export/focus.csv", {"month": "2026-1\n"}, "month"),
        ("/rates", {"start": "yesterday"}, "start"),
    ],
)
def test_what_cannot_be_exported_is_named(
    stage: Stage, path: str, parameters: dict[str, str], name: str
) -> None:
    stage.now = datetime(2026, 3, 1, tzinfo=UTC)
    response = stage.client.get(path, params=parameters)
    assert response.status_code == 422
    assert [error["parameter"] for error in response.json()["errors"]] == [name]


def test_a_store_that_fails_is_a_problem_and_not_an_empty_file(stage: Stage, monkeypatch: Any) -> None:
    from pymongo.errors import ServerSelectionTimeoutError

    def fail(*_: Any) -> Any:
        raise ServerSelectionTimeoutError("no server")

    monkeypatch.setattr(stage.reads, "catalog", fail)
    for path in ("/export/cost.csv", "/export/cost.parquet", "/export/focus.csv", "/rates"):
        assert stage.client.get(path).status_code == 503


def test_rates_of_the_hours_that_are_over(stage: Stage) -> None:
    day = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    (rates,) = stage.get("/rates", **day).values()
    row = stage.get("/cost", **day)["rows"][0]
    assert rates == {
        "input_cost_per_token": pytest.approx(row["cost_usd_by_class"]["uncached_prompt"] / 60_000),
        "output_cost_per_token": pytest.approx(row["cost_usd_by_class"]["completion"] / 26_400),
        "cache_read_input_token_cost": None,
    }
    assert stage.get("/rates", **{**day, "start": "2026-01-01T11:30:00Z"}) == {}


@pytest.mark.parametrize(
    ("now", "models"),
    [
        (datetime(2026, 1, 1, 11, 59, 59, tzinfo=UTC), []),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), ["llama-3-70b"]),
        (datetime(2026, 1, 8, 11, 59, 59, tzinfo=UTC), ["llama-3-70b"]),
        (datetime(2026, 1, 8, 12, tzinfo=UTC), []),
    ],
)
def test_rates_without_a_range_are_of_seven_days(stage: Stage, now: datetime, models: list[str]) -> None:
    stage.now = now
    assert list(stage.get("/rates")) == models


def test_tokens_that_nobody_pays_for_have_no_rate() -> None:
    stage = Stage()
    stage.send("token.usage.v1", usage(ts="2026-01-01T10:00:00Z", model="m"))
    stage.send("gpu.metrics.v1", metric(ts="2026-01-01T09:00:00Z"))
    asked = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    assert set(stage.get("/rates", **asked)["m"].values()) == {None}
