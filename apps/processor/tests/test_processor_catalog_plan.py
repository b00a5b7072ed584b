"""What becomes of the kept catalogue when the file changes: the past stays, one change is one action."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from gpu_token_contracts.timestamps import format_ts, to_us
from gpu_token_processor.ledger.catalog import Catalog, Price, Selector
from gpu_token_processor.ledger.catalog_changes import Plan
from gpu_token_processor.ledger.catalog_fields import CatalogError
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.catalog_plan import TAKEN_OVER, plan
from gpu_token_processor.ledger.catalog_rules import check
from hypothesis import given, settings
from hypothesis import strategies as st

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = "prices gpu_name H100, on_demand"


def at(hours: float) -> str:
    """Hours after the first run."""
    return format_ts(NOON + timedelta(hours=hours))


def us(hours: float) -> int:
    return to_us(NOON + timedelta(hours=hours))


def price(usd: float, **fields: Any) -> dict[str, Any]:
    return {"selector": {"gpu_name": "H100"}, "usd_per_hour": usd, **fields}


def deployment(name: str, *gpus: Any, **fields: Any) -> dict[str, Any]:
    return {"id": name, "gpus": list(gpus), **fields}


class Kept:
    """A catalogue that is kept, and the files that came one after the other."""

    def __init__(self, *taken_over: Price) -> None:
        self.catalog = Catalog()
        self._taken_over = taken_over

    def apply(self, hours: float, **sections: Any) -> Plan:
        """The plan, which must hold and change nothing when it is made again."""
        wanted = parse_catalog(sections)
        planned = plan(self.catalog, wanted, us(hours), self._taken_over)
        self._taken_over = ()
        self.catalog = planned.catalog
        for later in (hours, hours + 1_000):
            again = plan(self.catalog, wanted, us(later))
            assert (again.actions, again.catalog.version) == ([], self.catalog.version)
        return planned

    def refusal(self, hours: float, **sections: Any) -> str:
        with pytest.raises(CatalogError) as refused:
            plan(self.catalog, parse_catalog(sections), us(hours))
        return str(refused.value)

    def prices(self) -> list[tuple[float, float | None, float | None]]:
        """USD, from, to in hours; None is open."""
        return sorted(
            ((float(row.usd_per_gpu_hour), *hours(row)) for row in self.catalog.prices),
            key=lambda row: -(10**6) if row[1] is None else row[1],
        )

    def deployments(self) -> set[tuple[str, float | None, float | None]]:
        return {(row.id, *hours(row)) for row in self.catalog.deployments}


def hours(row: Any) -> tuple[float | None, float | None]:
    return tuple(
        None if moment is None else (moment - us(0)) / 3_600e6
        for moment in (row.valid_from_us, row.valid_to_us)
    )  # type: ignore[return-value]


def test_the_first_file_holds_as_it_says() -> None:
    kept = Kept()
    done = kept.apply(0, prices=[price(4), price(5, zone="a", valid_from=at(-9), valid_to=at(3))])
    assert kept.prices() == [(4, None, None), (5, -9, 3)]
    assert done.actions == [
        "prices: add gpu_name H100, on_demand: 4 USD per GPU hour from ever",
        "prices: add gpu_name H100, on_demand, zone a: 5 USD per GPU hour "
        "from 2026-03-01T03:00:00Z to 2026-03-01T15:00:00Z",
    ]
    assert done.before[NAME] == []


def test_a_changed_price_begins_now_and_is_one_action() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4)])
    done = kept.apply(5, prices=[price(3)])
    assert kept.prices() == [(4, None, 5), (3, 5, None)]
    assert done.actions == [
        "prices: change gpu_name H100, on_demand: 4 USD per GPU hour from ever to 2026-03-01T17:00:00Z; "
        "3 USD per GPU hour from 2026-03-01T17:00:00Z"
    ]
    assert done.before == {NAME: ["4 USD per GPU hour from ever"]}
    assert len(done.after[NAME]) == 2
    kept.apply(6, prices=[price(4)])
    assert kept.prices() == [(4, None, 5), (3, 5, 6), (4, 6, None)]


def test_what_the_file_no_longer_has_ends_now() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4), price(5, zone="a", valid_to=at(9)), price(6, zone="b", valid_from=at(7))])
    done = kept.apply(5)
    assert kept.prices() == [(4, None, 5), (5, None, 5)]
    assert done.actions == [
        "prices: gpu_name H100, on_demand, 4 USD per GPU hour from ever, "
        "now holds from ever to 2026-03-01T17:00:00Z",
        "prices: gpu_name H100, on_demand, zone a, 5 USD per GPU hour from ever to 2026-03-01T21:00:00Z, "
        "now holds from ever to 2026-03-01T17:00:00Z",
        "prices: remove gpu_name H100, on_demand, zone b, which has not begun",
    ]
    kept.apply(8, prices=[price(4)])
    assert kept.prices() == [(4, None, 5), (5, None, 5), (4, 8, None)], "not in between"


def test_a_row_that_is_new_holds_from_ever_unless_that_was_said_of_something_else() -> None:
    kept = Kept()
    kept.apply(0, deployments=[deployment("a", "A")])
    kept.apply(5, deployments=[deployment("b", "A"), deployment("c", "C")])
    assert kept.deployments() == {("a", None, 5), ("b", 5, None), ("c", None, None)}


def test_a_gpu_that_moves_to_another_deployment_is_in_one_at_each_moment() -> None:
    kept = Kept()
    gpus = [{"uuid": "B", "host": "h", "gpu_index": 1}]
    kept.apply(0, deployments=[deployment("a", "A", {"host": "h", "gpu_index": 1})], gpus=gpus)
    kept.apply(5, deployments=[deployment("a", "A"), deployment("b", "B")], gpus=gpus)
    assert kept.deployments() == {("a", None, 5), ("a", 5, None), ("b", 5, None)}


def test_another_card_in_the_same_place() -> None:
    kept = Kept()
    kept.apply(0, gpus=[{"uuid": "A", "host": "h", "gpu_index": 0}])
    kept.apply(5, gpus=[{"uuid": "B", "host": "h", "gpu_index": 0}])
    assert {(row.uuid, *hours(row)) for row in kept.catalog.gpus} == {("A", None, 5), ("B", 5, None)}


def test_dates_of_the_file_end_a_row_that_is_open() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4)])
    kept.apply(9, prices=[price(4, valid_to=at(5)), price(3, valid_from=at(5))])
    assert kept.prices() == [(4, None, 5), (3, 5, None)]
    kept.apply(10, prices=[price(3, valid_from=at(5), valid_to=at(20)), price(2, valid_from=at(20))])
    assert kept.prices() == [(4, None, 5), (3, 5, 20), (2, 20, None)], (
        "what has ended stays without being said"
    )


def test_an_end_can_be_moved_while_it_lies_ahead() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4, valid_to=at(9))])
    done = kept.apply(5, prices=[price(4, valid_to=at(7))])
    assert kept.prices() == [(4, None, 7)]
    assert len(done.actions) == 1
    kept.apply(6, prices=[price(4)])
    assert kept.prices() == [(4, None, None)]
    kept.apply(7, prices=[price(4, valid_to=at(1))])
    assert kept.prices() == [(4, None, 1)]
    kept.apply(8, prices=[price(4)])
    assert kept.prices() == [(4, None, 1), (4, 8, None)], "what has ended is not continued"


def test_a_row_that_has_not_begun_can_still_be_anything() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4, valid_from=at(9))])
    kept.apply(5, prices=[price(3, valid_from=at(9))])
    assert kept.prices() == [(3, 9, None)]
    kept.apply(6, prices=[price(2)])
    assert kept.prices() == [(2, None, None)]


def test_time_of_which_nothing_was_said_can_be_filled() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4, valid_from=at(-5))])
    kept.apply(1, prices=[price(3, valid_to=at(-5)), price(4, valid_from=at(-5))])
    assert kept.prices() == [(3, None, -5), (4, -5, None)]


@pytest.mark.parametrize(
    "rows",
    [
        [price(3, valid_from=at(-5))],
        [price(3, valid_from=at(-9))],
        [price(3, valid_to=at(-1))],
        [price(3, valid_to=at(-4)), price(4, valid_from=at(-4))],
    ],
)
def test_what_has_held_is_not_rewritten(rows: list[dict[str, Any]]) -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4, valid_from=at(-5))])
    said = kept.refusal(5, prices=rows)
    assert said.startswith("prices: gpu_name H100, on_demand is 3 USD per GPU hour ")
    assert "but gpu_name H100, on_demand was 4 USD per GPU hour from 2026-03-01T07:00:00Z" in said
    assert said.endswith("leave that row as it was, end it (valid_to), and begin another row there.")
    kept.apply(6)
    assert "not rewritten" in kept.refusal(9, prices=[price(3, valid_from=at(1))]), "nor what has ended"
    kept.apply(9, prices=[price(3, valid_from=at(6))])


def test_a_deployment_cannot_have_had_anothers_gpu() -> None:
    kept = Kept()
    kept.apply(0, deployments=[deployment("a", "A")])
    kept.apply(5)
    said = kept.refusal(6, deployments=[deployment("b", "A", valid_from=at(4))])
    assert said.startswith(
        "deployments: b is gpus [A], role serve from 2026-03-01T16:00:00Z, but a was gpus [A]"
    )


def test_sums_over_rows_are_checked_with_those_that_have_ended() -> None:
    kept = Kept()
    kept.apply(0, gpus=[{"uuid": "M1", "card": "C", "share": "2/3"}])
    said = kept.refusal(5, gpus=[{"uuid": "M2", "card": "C", "share": "1/2"}])
    assert said.startswith(
        "together with what is kept already, gpus: the shares of the slices of card C add up"
    )
    kept.apply(5, gpus=[{"uuid": "M2", "card": "C", "share": "1/2", "valid_from": at(5)}])


def test_the_lease_of_a_card_ends_where_the_lease_of_its_slice_begins() -> None:
    kept = Kept()
    gpus = [{"uuid": "M1", "card": "C", "share": "1/2"}, {"uuid": "M2", "card": "C", "share": "1/2"}]
    kept.apply(0, gpus=gpus, leases=[{"selector": {"uuid": "C"}}])
    kept.apply(5, gpus=gpus, leases=[{"selector": {"uuid": "M1"}}])
    assert {row.selector.value: hours(row) for row in kept.catalog.leases} == {
        "C": (None, 5),
        "M1": (5, None),
    }


def test_weights_and_energy_change_like_the_rest() -> None:
    kept = Kept()
    kept.apply(0, weights={"completion": 4}, energy={"usd_per_kwh": 0.2})
    done = kept.apply(5, weights={"completion": 3}, energy={"usd_per_kwh": 0.2})
    assert [(float(row.completion), *hours(row)) for row in kept.catalog.weights] == [
        (3, 5, None),
        (4, None, 5),
    ]
    (action,) = done.actions
    assert action.startswith(
        "weights: change the weights of tokens: uncached_prompt 1, cached_prompt 1, completion 4"
    )


def test_a_source_is_a_remark() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4, valid_from=at(-5))])
    done = kept.apply(5, prices=[price(4, valid_from=at(-5), source="invoice 7")])
    assert done.actions == [
        "prices: note the source of gpu_name H100, on_demand: 4 USD per GPU hour (invoice 7)"
    ]
    assert [row.source for row in kept.catalog.prices] == ["invoice 7"]
    kept.apply(6, prices=[price(3)])
    assert {row.source for row in kept.catalog.prices} == {"invoice 7", None}


def test_a_lease_counts_the_gpus_that_its_host_has_from_now_on() -> None:
    kept = Kept()
    lease = {"selector": {"host": "h"}}
    one, two = ({"uuid": uuid, "host": "h"} for uuid in "AB")
    kept.apply(0, leases=[lease], gpus=[one])
    kept.apply(5, leases=[lease], gpus=[one, two])
    assert {(row.gpus, *hours(row)) for row in kept.catalog.leases} == {(1, None, 5), (2, 5, None)}


def test_aliases_are_the_files() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4)])
    done = kept.apply(5, prices=[price(4)], aliases={"H100": "H100-SXM5", "H": "H100"})
    assert done.actions == [
        "aliases: H is H100-SXM5 instead of a name of its own, at all times",
        "aliases: H100 is H100-SXM5 instead of a name of its own, at all times",
    ]
    (row,) = kept.catalog.prices
    assert (row.selector.value, *hours(row)) == ("H100-SXM5", None, None)


def test_a_row_that_ends_where_the_kept_one_begins_ends_it() -> None:
    kept = Kept()
    kept.apply(0, prices=[price(4, valid_from=at(2))])
    rows = [price(4, valid_from=at(0), valid_to=at(2)), price(4, valid_from=at(3), valid_to=at(4))]
    kept.apply(3, prices=rows)
    assert kept.prices() == [(4, 0, 2), (4, 3, 4)]


def test_an_alias_does_not_make_one_of_two_prices_that_have_held() -> None:
    kept = Kept()
    other = price(5, selector={"gpu_name": "H200"})
    kept.apply(0, prices=[price(4), other])
    said = kept.refusal(5, prices=[other], aliases={"H100": "H200"})
    assert said.startswith(
        "aliases: H100 and H200 would become one name, but have had two prices: remove the"
    )


def inventory(name: str, usd: str) -> Price:
    return Price(selector=Selector("gpu_name", name), usd_per_gpu_hour=Fraction(usd), source=TAKEN_OVER)


def test_prices_of_the_old_inventory_hold_until_the_file_has_one() -> None:
    kept = Kept(inventory("A", "1"), inventory("B", "2"), inventory("H100", "3"))
    done = kept.apply(0, prices=[price(4), price(1, selector={"gpu_name": "A"})])
    said = {(row.selector.value, *hours(row), row.source is None) for row in kept.catalog.prices}
    assert said == {
        ("A", None, None, True),
        ("B", None, None, False),
        ("H100", None, 0, False),
        ("H100", 0, None, True),
    }
    assert (
        "prices: add gpu_name B, on_demand: 2 USD per GPU hour (the collection gpus of an earlier version)"
        in (done.actions[1])
    )
    kept.apply(5, prices=[price(2.5, selector={"gpu_name": "B"})])
    assert {hours(row) for row in kept.catalog.prices if row.selector.value == "B"} == {(None, 5), (5, None)}
    kept.apply(6)
    assert all(row.valid_to_us is not None for row in kept.catalog.prices)


MOMENTS = st.integers(-4, 8)


@st.composite
def files(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Price rows that do not overlap, of one or two keys, with and without dates."""
    rows = []
    for zone in draw(st.sets(st.sampled_from(["a", "b"]))):
        bounds: Sequence[int | None] = sorted(draw(st.sets(MOMENTS, max_size=4)))
        if draw(st.booleans()):
            bounds = [None, *bounds]
        if draw(st.booleans()):
            bounds = [*bounds, None]
        last = 0
        for begin, end in pairwise(bounds):
            if (begin, end) != (None, None) and draw(st.booleans()):
                continue
            dates = {"valid_from": begin, "valid_to": end}
            told = {name: at(hour) for name, hour in dates.items() if hour is not None}
            # Not two rows of one price with a gap between them: where a kept row spans the gap, a second
            # run may still change it.
            usd = draw(st.sampled_from([one for one in (1, 2, 3) if one != last]))
            rows.append(price(usd, zone=zone, **told))
            last = usd
    return rows


def timeline(catalog: Catalog) -> dict[tuple[str, float], float]:
    """The price in each zone in each half hour."""
    return {
        (row.zone or "", half / 2): float(row.usd_per_gpu_hour)
        for row in catalog.prices
        for half in range(-20, 30)
        if row.holds(us(half / 2))
    }


@settings(max_examples=400, deadline=None)
@given(st.lists(files(), min_size=2, max_size=4))
def test_whatever_the_files_say(contents: list[list[dict[str, Any]]]) -> None:
    catalog = Catalog()
    for now, rows in enumerate(contents):
        wanted = parse_catalog({"prices": rows})
        try:
            planned = plan(catalog, wanted, us(now))
        except CatalogError:
            continue
        check(planned.catalog)
        was, is_now, says = timeline(catalog), timeline(planned.catalog), timeline(wanted)
        ahead = {moment: usd for moment, usd in says.items() if moment[1] >= now}
        assert {moment: usd for moment, usd in is_now.items() if moment[1] >= now} == ahead
        for moment, usd in was.items():
            if moment[1] >= now or is_now.get(moment) == usd:
                continue
            # Only a row that was open at this moment has been ended, by a date that the file names.
            assert any("valid_from" in row or "valid_to" in row for row in rows)
            assert any(
                row.zone == moment[0] and row.holds(us(moment[1])) and (row.valid_to_us or us(99)) > us(now)
                for row in catalog.prices
            )
        for later in (now, now + 0.25, now + 100):
            again = plan(planned.catalog, wanted, us(later))
            assert again.actions == []
            assert again.catalog.version == planned.catalog.version
        assert bool(planned.actions) == (planned.catalog.version != catalog.version)
        catalog = planned.catalog


def test_a_budget_that_changes_ends_and_begins_anew() -> None:
    kept = Kept()
    kept.apply(0, budgets=[{"name": "b", "usd_per_month": 100, "selector": {"team": "red"}}])
    planned = kept.apply(1, budgets=[{"name": "b", "usd_per_month": 200.5}])
    assert {(row.usd_per_month, *hours(row)) for row in kept.catalog.budgets} == {
        (100, None, 1),
        (Fraction("200.5"), 1, None),
    }
    assert planned.actions == [
        "budgets: change b: 100 USD a month of team red, thresholds [0.8 1] "
        "from ever to 2026-03-01T13:00:00Z; 200.5 USD a month, thresholds [0.8 1] from 2026-03-01T13:00:00Z"
    ]
