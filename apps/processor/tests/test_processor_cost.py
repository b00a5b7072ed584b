"""The rules of docs/cost-model.md one by one; the oracle's tests ask them all together."""

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from gpu_token_processor.api.models import CostAnswer
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.exact import US_PER_SECOND, stored_us
from gpu_token_processor.ledger.offline import Source, answer
from gpu_token_processor.ledger.question import Question

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
THIRTY_SECONDS_USD = 0.0070833
Event = dict[str, Any]


def at(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat()


def reading(seconds: float = 0, **changes: Any) -> Event:
    return {"ts": at(seconds), "host": "h", "gpu_index": 0, "price_per_hour_usd": 0.85} | changes


def usage(seconds: float = 1, **changes: Any) -> Event:
    return {"ts": at(seconds), "model": "m", "prompt_tokens": 1000, "completion_tokens": 440} | changes


def ask(
    *events: Event,
    seconds: float = 30,
    start: float = 0,
    catalog: dict[str, Any] | None = None,
    gap_seconds: float = 30,
    **question: Any,
) -> CostAnswer:
    """What is answered for [start, seconds) after T0."""
    with NamedTemporaryFile() as file:
        file.writelines(json.dumps(event).encode() + b"\n" for event in events)
        file.flush()
        return answer(
            [Source("events", Path(file.name))],
            Book(parse_catalog(catalog or {}), Fraction(2)),
            Question(
                start_us=stored_us(T0 + timedelta(seconds=start)),
                end_us=stored_us(T0 + timedelta(seconds=seconds)),
                gap_us=round(gap_seconds * US_PER_SECOND),
                **question,
            ),
        )


def costs(found: CostAnswer) -> dict[tuple[str | None, ...], float | None]:
    """USD by key."""
    return {
        tuple(row.key.values()): None if row.cost_usd is None else round(float(row.cost_usd), 7)
        for row in found.rows
    }


def test_no_fence_post_error() -> None:
    """30 readings a second apart are 30 s, not 29."""
    (gpu,) = ask(*(reading(second) for second in range(30))).gpus
    assert (gpu.covered_seconds, gpu.readings) == (30, 30)


def test_a_gap_is_a_gap() -> None:
    found = ask(reading(0), reading(100), seconds=200)
    assert (found.gpu_seconds, found.gap_seconds) == (60, 70)
    assert (found.coverage.covered_seconds, found.coverage.gap_seconds) == (60, 70)


def test_an_earlier_reading_still_holds_and_one_that_ended_before_is_not_named() -> None:
    (gpu,) = ask(reading(-10), seconds=60).gpus
    assert (gpu.covered_seconds, gpu.readings) == (20, 0)
    assert ask(reading(-31), seconds=60).gpus == []


@pytest.mark.parametrize(
    ("price", "name", "expected_usd", "source"),
    [
        (1.5, "A100", 1.5, "event"),
        (0.0, "A100", 0.0, "event"),
        (None, "A100", 3.2, "inventory"),
        (None, "NVIDIA A100", 3.2, "inventory"),
        (None, "H100", 2.0, "default"),
        (None, None, 2.0, "default"),
    ],
)
def test_price(price: float | None, name: str | None, expected_usd: float, source: str) -> None:
    catalog = {"prices": [{"selector": {"gpu_name": "A100"}, "usd_per_hour": 3.2}]}
    found = ask(reading(price_per_hour_usd=price, name=name), catalog=catalog, seconds=3600, gap_seconds=3600)
    assert (float(found.total.cost_usd or 0), found.gpus[0].price_source) == (expected_usd, source)
    assert found.coverage.default_price_share == (1 if source == "default" else 0)


def test_tokens_of_a_silent_gpu_are_paid_by_no_other() -> None:
    found = ask(reading(uuid="B"), usage(gpu_uuid="A", host="h", gpu_index=0))
    assert costs(found) == {("m",): None}
    assert found.rows[0].tokens.unpriced == found.coverage.unpriced_tokens == 1440
    assert float(found.idle.fleet_usd) == pytest.approx(THIRTY_SECONDS_USD, rel=1e-4)
    assert (found.gpus[0].total_tokens, found.models[0].wall_clock.cost_usd) == (0, None)


def test_one_gpu_named_two_ways_is_one_gpu() -> None:
    found = ask(
        reading(uuid="A"),
        usage(1, model="new", gpu_uuid="A"),
        usage(2, model="old", host="h", gpu_index=0),
    )
    half = pytest.approx(THIRTY_SECONDS_USD / 2, rel=1e-4)
    assert costs(found) == {("new",): half, ("old",): half}


def test_usage_that_fits_two_gpus_is_shared_by_both() -> None:
    gpus = reading(uuid="A"), reading(uuid="B", price_per_hour_usd=1.7)
    found = ask(*gpus, usage(host="h", gpu_index=0))
    assert costs(found) == {("m",): pytest.approx(3 * THIRTY_SECONDS_USD, rel=1e-4)}
    assert [gpu.total_tokens for gpu in found.gpus] == [None, None]


def test_equal_times_are_ordered_by_id() -> None:
    """Not by order of arrival, be there ids or not."""
    for ids in (("a", "b"), (None, None)):
        two = [
            reading(0, price_per_hour_usd=price, event_id=event_id)
            for price, event_id in zip((1, 3), ids, strict=True)
        ]
        assert [float(ask(*order).total.cost_usd or 0) for order in (two, two[::-1])] == [0.025, 0.025]


def test_one_grain_of_time() -> None:
    """An event half a millisecond after a full one lies at the full one; so does a bound."""
    late = usage(0.0005)
    assert ask(late, start=0.0009).tokens.events == 1
    assert ask(late, start=0.001).tokens.events == 0
    found = ask(reading(0.0005), start=0.0009)
    assert found.window.start == T0
    assert found.gpu_seconds == 30


def test_identities_are_not_joined_text() -> None:
    gpus = [
        reading(host="a", gpu_index=0, name="b/1/c"),
        reading(host="a/0/b", gpu_index=1, name="c"),
        reading(host=None),
        reading(host="unknown"),
        reading(host=None, gpu_index=None, uuid="unknown/0/"),
    ]
    assert len({gpu.gpu_id for gpu in ask(*gpus).gpus}) == len(gpus)


def test_a_deployment_pays_for_all_its_gpus() -> None:
    """Eight GPUs at 4 USD an hour serve one model, and usage names one of them."""
    gpus = [reading(gpu_index=index, price_per_hour_usd=4) for index in range(8)]
    catalog = {
        "deployments": [
            {"id": "d", "models": ["m"], "gpus": [{"host": "h", "gpu_index": index} for index in range(8)]}
        ]
    }
    hour = {"seconds": 3600, "gap_seconds": 3600, "catalog": catalog}
    assert costs(ask(*gpus, usage(host="h", gpu_index=3), **hour)) == {("m",): 32.0}
    assert costs(ask(*gpus, usage(), **hour, group_by=("model", "deployment"))) == {("m", "d"): 32.0}
    idle = ask(*gpus, **hour).idle
    assert (idle.loaded_usd, idle.fleet_usd) == (32, 0)


def test_usage_can_name_several_gpus() -> None:
    gpus = [reading(uuid=f"GPU-{index}", gpu_index=index) for index in range(3)]
    found = ask(*gpus, usage(gpu_uuids=["GPU-0", "GPU-2"]))
    assert costs(found) == {("m",): pytest.approx(2 * THIRTY_SECONDS_USD, rel=1e-4)}
    assert float(found.idle.fleet_usd) == pytest.approx(THIRTY_SECONDS_USD, rel=1e-4)


def test_time_counts_where_a_reading_has_no_utilization_and_no_power() -> None:
    found = ask(reading(0, utilization=0.5, power_w=100), reading(10, utilization=None), gap_seconds=10)
    assert found.coverage.covered_seconds == 20
    assert (found.coverage.without_utilization_seconds, found.coverage.without_power_seconds) == (10, 10)
    assert found.utilization_weighted.cost_usd == pytest.approx(0.85 * 5 / 3600)


def test_an_interval_is_spread_over_its_hours() -> None:
    whole = usage(3600, prompt_tokens=7, completion_tokens=0, interval_seconds=7200)
    found = ask(whole, start=-3600, seconds=3600, step="hour")
    assert [row.tokens.total for row in found.rows] == [3, 4]
    assert found.total.tokens.requests == found.tokens.events == 1


def test_an_id_counts_once_and_other_content_is_a_conflict() -> None:
    one = usage(event_id="x")
    found = ask(one, one, usage(event_id="x", model="other"))
    assert found.tokens.events == 1
    assert found.coverage.conflicting_events == 1


def test_counter_resets_of_ranges_that_meet_add_up() -> None:
    events = [
        usage(10, interval_seconds=10, counter_resets=1),
        usage(7200, interval_seconds=7200, counter_resets=3, measured_by="gateway"),
        usage(20, counter_resets=5),
        usage(30),
    ]
    cuts = [-100, 5, 20, 1000, 3600, 7300]
    parts = [ask(*events, start=start, seconds=end).coverage.counter_resets for start, end in pairwise(cuts)]
    assert parts == [0, 1, 5, 1, 2]
    assert ask(*events, start=-100, seconds=7300).coverage.counter_resets == sum(parts)
    assert ask(*events, where=(("model", "another"),)).coverage.counter_resets == 6


def test_selection_keeps_idle_of_the_selected_gpus_only() -> None:
    gpus = reading(host="a"), reading(host="b")
    found = ask(*gpus, usage(host="a", gpu_index=0), where=(("host", "b"),))
    assert found.rows == []
    assert found.total.cost_usd == found.idle.fleet_usd > 0
    found = ask(*gpus, usage(host="a", gpu_index=0), where=(("model", "m"),))
    assert found.total.cost_usd == found.rows[0].cost_usd


SLICES = [{"uuid": f"M{number}", "card": "CARD", "share": "1/3"} for number in range(3)]
HOUR: dict[str, Any] = {"seconds": 3600, "gap_seconds": 3600}


@pytest.mark.parametrize("reporting", [0, 1, 3])
def test_a_leased_card_costs_the_same_however_many_of_its_slices_report(reporting: int) -> None:
    catalog = {
        "gpus": SLICES,
        "prices": [{"selector": {"uuid": "CARD"}, "usd_per_hour": 4.2}],
        "leases": [{"selector": {"uuid": "CARD"}}],
    }
    slices = [
        reading(uuid=f"M{number}", price_per_hour_usd=None, gpu_index=None) for number in range(reporting)
    ]
    found = ask(*slices, **HOUR, catalog=catalog, basis="leased")
    assert float(found.total.cost_usd or 0) == 4.2
    assert (found.coverage.leased_seconds, found.coverage.covered_seconds) == (3600, 1200 * reporting)


def test_slices_by_profile_of_a_leased_host_are_exact() -> None:
    catalog = {
        "prices": [{"selector": {"host": "h"}, "usd_per_hour": 7}],
        "leases": [{"selector": {"host": "h"}, "gpus": 1}],
    }
    slices = [
        reading(uuid=f"M{number}", gpu_instance="1g.10gb", price_per_hour_usd=None) for number in range(2)
    ]
    found = ask(*slices, **HOUR, catalog=catalog, basis="leased")
    assert (found.total.cost_usd, found.idle.unreported_usd) == (7, 5)


@pytest.mark.parametrize(("profile", "usd"), [("2g.20gb", 2), ("7g.80gb", 7), ("99g.20gb", 7), ("0g.1gb", 7)])
def test_a_profile_is_a_part_of_a_card(profile: str, usd: float) -> None:
    catalog = {"prices": [{"selector": {"host": "h"}, "usd_per_hour": 7}]}
    found = ask(reading(gpu_instance=profile, price_per_hour_usd=None), **HOUR, catalog=catalog)
    assert found.total.cost_usd == usd


def test_silent_time_at_the_default_price_is_named() -> None:
    found = ask(catalog={"leases": [{"selector": {"host": "h"}, "gpus": 1}]}, **HOUR, basis="leased")
    assert (found.idle.unreported_usd, found.coverage.default_price_share) == (2, 1)


def test_a_place_of_the_catalogue_lends_its_name() -> None:
    catalog = {
        "gpus": [{"host": "h", "gpu_index": 0, "name": "H100"}],
        "prices": [{"selector": {"gpu_name": "H100"}, "usd_per_hour": 4}],
    }
    assert ask(reading(price_per_hour_usd=None), **HOUR, catalog=catalog).total.cost_usd == 4


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_gpu_that_moves_within_the_hour_counts_for_what_the_catalogue_lists_first(
    order: tuple[str, str],
) -> None:
    places = {"a": 0, "b": 1}
    catalog = {
        "deployments": [{"id": name, "gpus": [{"host": "h", "gpu_index": places[name]}]} for name in order]
    }
    moved = reading(0, uuid="GPU-a"), reading(10, uuid="GPU-a", gpu_index=1)
    found = ask(*moved, usage(host="h"), catalog=catalog, group_by=("deployment",))
    assert [row.key["deployment"] for row in found.rows] == [order[0]]
