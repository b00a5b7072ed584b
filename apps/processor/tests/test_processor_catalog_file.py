"""CATALOG.yml: what each row becomes, and that every mistake is one sentence."""

from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpu_token_contracts.timestamps import to_us
from gpu_token_processor.ledger.catalog import (
    Budget,
    Catalog,
    Deployment,
    Energy,
    Gpu,
    GpuRef,
    Lease,
    Price,
    Scope,
    Selector,
)
from gpu_token_processor.ledger.catalog_fields import CatalogError
from gpu_token_processor.ledger.catalog_file import gpu_name, load_catalog, parse_catalog

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "catalog.yml"
H100 = {"selector": {"gpu_name": "H100"}, "usd_per_hour": 4}
BUDGET = {"name": "b", "usd_per_month": 100}


def us(*moment: int) -> int:
    return to_us(datetime(*moment, tzinfo=UTC))  # type: ignore[arg-type, misc]


def of_yaml(text: str, folder: Path) -> Catalog:
    file = folder / "CATALOG.yml"
    file.write_text(text)
    return load_catalog(file)


def refusal(data: Any) -> str:
    with pytest.raises(CatalogError) as refused:
        parse_catalog(data)
    said = str(refused.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def price(**changes: Any) -> dict[str, Any]:
    """A price row; a change to None leaves the field out."""
    return {name: value for name, value in (H100 | changes).items() if value is not None}


def the_price(**changes: Any) -> Price:
    (row,) = parse_catalog({"prices": [price(**changes)]}).prices
    return row


def test_nothing_is_a_catalogue() -> None:
    assert parse_catalog({}) == Catalog()
    assert parse_catalog({"prices": None, "aliases": None, "weights": []}) == Catalog()


def test_a_deployment() -> None:
    row = {
        "id": "tp2",
        "models": ["m", "n"],
        "endpoints": ["https://e"],
        "gpus": ["GPU-a", {"uuid": "GPU-b"}, {"host": "h", "gpu_index": 0}],
        "role": "decode",
        "valid_from": "2026-01-01T01:00:00+01:00",
        "valid_to": datetime(2026, 2, 1),
    }
    assert parse_catalog({"deployments": [row]}).deployments == (
        Deployment(
            id="tp2",
            models=("m", "n"),
            endpoints=("https://e",),
            gpus=(GpuRef(uuid="GPU-a"), GpuRef(uuid="GPU-b"), GpuRef(host="h", gpu_index=0)),
            role="decode",
            valid_from_us=us(2026, 1, 1),
            valid_to_us=us(2026, 2, 1),
        ),
    )
    assert parse_catalog({"deployments": [{"id": "x"}]}).deployments == (Deployment(id="x"),)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T12:00:00Z", us(2026, 1, 1, 12)),
        ("2026-01-01 12:00:00 +02:00", us(2026, 1, 1, 10)),
        ("2026-01-01T12:00:00", us(2026, 1, 1, 12)),
        ("2026-01-01", us(2026, 1, 1)),
        ("2026-01-01T12:00:00.0019999Z", us(2026, 1, 1, 12) + 1_000),
        ("'2026-01-01T12:00:00.001999+00:00'", us(2026, 1, 1, 12) + 1_000),
    ],
)
def test_times_are_cut_to_the_millisecond_and_yamls_are_utc_without_a_zone(
    text: str, moment: int, tmp_path: Path
) -> None:
    (row,) = of_yaml(f"energy: {{usd_per_kwh: 1, valid_from: {text}}}", tmp_path).energy
    assert row.valid_from_us == moment


def test_numbers_are_what_they_print_as(tmp_path: Path) -> None:
    catalog = of_yaml("energy: {usd_per_kwh: 0.1}\nweights: {cached_prompt: 0.30}", tmp_path)
    assert catalog.energy == (Energy(usd_per_kwh=Fraction(1, 10)),)
    assert catalog.weights[0].cached_prompt == Fraction(3, 10)
    assert catalog.weights[0].completion == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e3", Fraction(1000)),
        ("1.5E-3", Fraction("0.0015")),
        (".5", Fraction("0.5")),
        ("5.", Fraction(5)),
        ("+7", Fraction(7)),
        ("0", Fraction(0)),
        ("0.30", Fraction("0.3")),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text: str, number: Fraction, tmp_path: Path) -> None:
    assert of_yaml(f"energy: {{usd_per_kwh: {text}}}", tmp_path).energy[0].usd_per_kwh == number


def test_prices() -> None:
    assert the_price() == Price(selector=Selector("gpu_name", "H100"), usd_per_gpu_hour=Fraction(4))
    spot = the_price(selector={"instance_type": "p5"}, market="spot", zone="a", source="s", currency="USD")
    assert (spot.selector, spot.market, spot.zone, spot.source) == (("instance_type", "p5"), "spot", "a", "s")
    assert the_price(per="instance", gpus=8, usd_per_hour=98.32).usd_per_gpu_hour == Fraction("12.29")


def test_budgets() -> None:
    dates = {"valid_from": "2026-01-01T00:00:00Z"}
    rows = [
        {"name": "all", "usd_per_month": 0.1},
        {
            "name": "s",
            "selector": {"team": "search"},
            "usd_per_month": 5,
            "thresholds": [1, 0.5, 1.2],
            **dates,
        },
        {"name": "silent", "usd_per_month": 1, "thresholds": []},
    ]
    assert parse_catalog({"budgets": rows}).budgets == (
        Budget(name="all", usd_per_month=Fraction(1, 10), thresholds=(Fraction(4, 5), Fraction(1))),
        Budget(
            name="s",
            selector=Scope("team", "search"),
            usd_per_month=Fraction(5),
            thresholds=(Fraction(1, 2), Fraction(1), Fraction(6, 5)),
            valid_from_us=us(2026, 1, 1),
        ),
        Budget(name="silent", usd_per_month=Fraction(1), thresholds=()),
    )


def test_budgets_change_the_digest_and_not_the_version_that_cost_depends_on() -> None:
    without, with_one = (
        parse_catalog({"prices": [H100]}),
        parse_catalog({"prices": [H100], "budgets": [BUDGET]}),
    )
    assert without.digest == without.version == with_one.version
    assert with_one.digest != without.digest


def test_what_an_owned_server_costs() -> None:
    owned = {
        "capex_usd": 60_000,
        "residual_usd": 6_000,
        "life_years": 4,
        "other_usd_per_year": 1_200,
        "power_w": 1_400,
        "pue": 1.3,
        "usd_per_kwh": 0.18,
    }
    row = the_price(usd_per_hour=None, owned=owned, per="instance", gpus=2)
    assert row.market == "owned"
    assert row.usd_per_gpu_hour == (Fraction(13_500 + 1_200, 8_760) + Fraction("0.3276")) / 2
    plain = the_price(usd_per_hour=None, owned={**dict.fromkeys(owned, 0), "life_years": 1, "pue": 1})
    assert plain.usd_per_gpu_hour == 0


def test_leases() -> None:
    gpus = [
        {"uuid": "A", "host": "h", "gpu_index": 0},
        {"host": "h", "gpu_index": 1},
        {"uuid": "M1", "host": "h", "card": "C", "share": "1/2"},
        {"uuid": "M2", "host": "h", "card": "C", "share": 0.5},
        {"uuid": "gone", "host": "h", "valid_to": "2026-01-01T00:00:00Z"},
        {"uuid": "B", "host": "other"},
    ]
    leases = [
        {"selector": {"host": "h"}, "from": "2026-01-01T00:00:00Z", "instance_type": "p5"},
        {"selector": {"host": "i"}, "gpus": 8, "market": "reserved", "zone": "z"},
        {"selector": {"uuid": "X"}, "to": "2026-01-01T00:00:00Z"},
    ]
    first, second, third = parse_catalog({"gpus": gpus, "leases": leases}).leases
    assert first == Lease(
        selector=Selector("host", "h"), gpus=3, instance_type="p5", valid_from_us=us(2026, 1, 1)
    ), "two GPUs, and the card of two slices"
    assert (second.gpus, second.market, second.zone) == (8, "reserved", "z")
    assert third == Lease(selector=Selector("uuid", "X"), valid_to_us=us(2026, 1, 1))


def test_weights_may_change_with_time() -> None:
    rows = [
        {"cached_prompt": 0.1, "valid_to": "2026-01-01T00:00:00Z"},
        {"cached_prompt": 0.2, "valid_from": "2026-01-01T00:00:00Z"},
    ]
    assert [float(row.cached_prompt) for row in parse_catalog({"weights": rows}).weights] == [0.1, 0.2]


def test_names_of_gpus() -> None:
    aliases = parse_catalog(
        {"aliases": {"A100": "A100-40", "A100-40": "NVIDIA A100-SXM4-40GB", "NVIDIA L4": "L4"}}
    ).aliases
    assert aliases == {"A100": "A100-SXM4-40GB", "A100-40": "A100-SXM4-40GB"}
    for name in ("A100", "NVIDIA A100", "A100-40", "A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB"):
        assert gpu_name(name, aliases) == "A100-SXM4-40GB"
    assert gpu_name("NVIDIA L4", aliases) == gpu_name("L4", {}) == "L4"
    row = parse_catalog({"aliases": {"A": "B"}, "prices": [price(selector={"gpu_name": "NVIDIA A"})]}).prices[
        0
    ]
    assert row.selector == ("gpu_name", "B")


def test_rows_that_follow_each_other_are_right() -> None:
    half = "2026-01-01T00:00:00Z"
    deployment = {"id": "d", "gpus": ["A"]}
    parse_catalog(
        {
            "deployments": [deployment | {"valid_to": half}, deployment | {"valid_from": half}],
            "prices": [
                price(valid_from=half),
                price(valid_to=half),
                price(zone="a"),
                price(market="spot"),
                price(selector={"uuid": "H100"}),
            ],
            "leases": [
                {"selector": {"host": "h"}, "gpus": 1, "from": half},
                {"selector": {"host": "h"}, "gpus": 1, "to": half},
            ],
            "gpus": [
                {"uuid": "A", "host": "h", "gpu_index": 0, "valid_to": half},
                {"uuid": "A", "host": "h", "gpu_index": 1, "valid_from": half},
                {"uuid": "B", "host": "h", "gpu_index": 0, "valid_from": half},
            ],
        }
    )


def test_what_a_card_was_before_it_was_cut_is_right() -> None:
    half = "2026-01-01T00:00:00Z"
    gpus = [
        {"uuid": "G", "share": 0.5, "valid_to": half},
        {"uuid": "G", "valid_from": half},
        {"uuid": "M", "card": "G", "share": "1/2", "valid_from": half},
        {"uuid": "N", "card": "G", "share": "1/2", "valid_from": half},
        {"uuid": "M", "card": "N", "share": 1, "valid_to": half},
        {"uuid": "A", "host": "h", "gpu_index": 0, "valid_to": half},
        {"uuid": "A", "host": "h", "gpu_index": 1, "valid_from": half},
    ]
    parse_catalog(
        {
            "gpus": gpus,
            "leases": [
                {"selector": {"uuid": "G"}, "to": half},
                *({"selector": {"uuid": uuid}, "from": half} for uuid in "MN"),
            ],
            "deployments": [
                {"id": "d", "gpus": [{"host": "h", "gpu_index": index} for index in (0, 1)]},
                {"id": "a slice", "gpus": ["M"]},
                {"id": "what is left of the card", "gpus": ["G"]},
                {"id": "named by its readings alone"},
            ],
        }
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "the catalogue is empty: give a mapping"),
        ([], "the catalogue is []: give a mapping"),
        ({"price": []}, "'price' is no section: use deployments, prices, "),
        ({1: []}, "1 is no section"),
        ({"prices": {}}, "prices is {}: give a list"),
        ({"prices": ["x"]}, "prices, row 1 is 'x': give a mapping"),
        ({"prices": [price(), price(usd=1)]}, "prices, row 2: 'usd' is no field: use selector, "),
        (
            {"prices": [price(selector=None)]},
            "prices, row 1: selector is missing: give a mapping with one of",
        ),
        ({"prices": [price(selector={"host": "h", "uuid": "u"})]}, "prices, row 1: selector is {"),
        ({"prices": [price(selector={"model": "m"})]}, "row 1, selector: 'model' is no field"),
        ({"prices": [price(selector={"host": None})]}, "row 1, selector: host is missing"),
        ({"prices": [price(usd_per_hour=None)]}, "(gpu_name H100): it has neither usd_per_hour nor owned"),
        ({"prices": [price(owned={})]}, "it has both usd_per_hour and owned: give one"),
        ({"prices": [price(usd_per_hour=-0.5)]}, "usd_per_hour is -0.5: give a number from 0 to"),
        ({"prices": [price(usd_per_hour=float("nan"))]}, "usd_per_hour is nan: give a number"),
        ({"prices": [price(usd_per_hour=float("inf"))]}, "usd_per_hour is inf: give a number"),
        ({"prices": [price(usd_per_hour=True)]}, "usd_per_hour is True: give a number"),
        ({"prices": [price(usd_per_hour="4")]}, "usd_per_hour is '4': give a number"),
        ({"prices": [price(usd_per_hour=200_000)]}, "makes 200000 USD for an hour of one GPU: give at most"),
        ({"prices": [price(currency="EUR")]}, "currency is 'EUR': give one of USD"),
        ({"budgets": [{"usd_per_month": 1}]}, "budgets, row 1: name is missing: give a text"),
        ({"budgets": [{"name": "b"}]}, "budgets, row 1 (b): usd_per_month is missing: give a number"),
        ({"budgets": [BUDGET | {"usd_per_month": 0}]}, "usd_per_month is 0: give a number above 0"),
        (
            {"budgets": [BUDGET | {"selector": {"user": "u"}}]},
            "selector: 'user' is no field: use team, model, d",
        ),
        ({"budgets": [BUDGET | {"selector": {"team": "a", "model": "m"}}]}, "selector is {"),
        ({"budgets": [BUDGET | {"thresholds": 0.8}]}, "thresholds is 0.8: give a list"),
        (
            {"budgets": [BUDGET | {"thresholds": [80]}]},
            "thresholds has 80: give shares of the budget above 0",
        ),
        ({"budgets": [BUDGET | {"thresholds": [0]}]}, "thresholds has 0: give shares of the budget above 0"),
        ({"budgets": [BUDGET | {"thresholds": [1, 1.0]}]}, "(b): thresholds has 1 twice: keep one."),
        ({"budgets": [BUDGET, BUDGET]}, "budgets: row 1 and row 2 both have b from the beginning on"),
        ({"prices": [price(market="on-demand")]}, "market is 'on-demand': give one of on_demand, spot"),
        ({"prices": [price(per="node")]}, "per is 'node': give one of gpu, instance"),
        ({"prices": [price(gpus=8)]}, "gpus is 8 beside per: gpu: leave gpus out"),
        ({"prices": [price(per="instance")]}, "gpus is missing beside per: instance"),
        ({"prices": [price(per="instance", gpus=0)]}, "gpus is 0: give a whole number from 1 to 1024"),
        ({"prices": [price(per="instance", gpus=1.0)]}, "gpus is 1.0: give a whole number"),
        ({"prices": [price(zone=3)]}, "zone is 3: give a text of 1 to 256 characters without NUL, in quotes"),
        ({"prices": [price(zone="\ud800")]}, "zone is '\\ud800': give a text"),
        ({"prices": [price(zone="z" * 257)]}, "zone is 'zzz"),
        ({"prices": [price(valid_from="soon")]}, "valid_from is 'soon': give a time from 1970 on"),
        ({"prices": [price(valid_from="2026-01-01T00:00:00")]}, "with its zone"),
        ({"prices": [price(valid_from=1)]}, "valid_from is 1: give a time"),
        ({"prices": [price(valid_from=date(1, 1, 1))]}, "give a time from 1970 on"),
        (
            {"prices": [price(valid_from="2026-01-02T00:00:00Z", valid_to="2026-01-02T00:00:00.0009Z")]},
            "valid_to is '2026-01-02T00:00:00.0009Z', which is not after valid_from '2026-01-02T00:00:00Z'",
        ),
        (
            {"prices": [price(), price(zone="a"), price(selector={"gpu_name": "NVIDIA H100"})]},
            "prices: row 1 and row 3 both have gpu_name H100, on_demand from the beginning on: let one end",
        ),
        (
            {"prices": [price(valid_from="2026-01-01T00:00:00Z", zone="a"), price(zone="a")]},
            "both have gpu_name H100, on_demand, zone a from 2026-01-01T00:00:00Z on",
        ),
        ({"prices": [price(usd_per_hour=None, owned=4)]}, "owned is 4: give a mapping with capex_usd"),
        ({"prices": [price(usd_per_hour=None, owned={"capex_usd": 1})]}, "owned: life_years is missing"),
        (
            {"prices": [price(usd_per_hour=None, owned={"capex_usd": 1, "life_years": 0})]},
            "life_years is 0: give a number above 0",
        ),
        (
            {"prices": [price(usd_per_hour=None, owned={"capex_usd": 1, "residual_usd": 2})]},
            "residual_usd is 2, above capex_usd",
        ),
        (
            {
                "prices": [
                    price(
                        usd_per_hour=None,
                        owned={"capex_usd": 1, "life_years": 1e-320, "power_w": 0, "usd_per_kwh": 0},
                    )
                ]
            },
            "e+316 USD for an hour of one GPU: give at most",
        ),
        (
            {"prices": [price(usd_per_hour=None, market="spot", owned={})]},
            "market is 'spot' beside owned: leave market out",
        ),
        ({"deployments": [{"models": ["m"]}]}, "deployments, row 1: id is missing: give a text"),
        (
            {"deployments": [{"id": "a\0b"}]},
            "row 1: id is 'a\\x00b': give a text of 1 to 256 characters without",
        ),
        ({"deployments": [{"id": "d", "models": ["m\0"]}]}, "row 1 (d): models is 'm\\x00': give a text"),
        ({"aliases": {"a\0": "b"}}, "aliases is {'a\\x00': 'b'}: give a mapping"),
        ({"deployments": [{"id": 7}]}, "deployments, row 1: id is 7: give a text"),
        ({"deployments": [{"id": "d", "models": "m"}]}, "row 1 (d): models is 'm': give a list"),
        ({"deployments": [{"id": "d", "models": ["m", "m"]}]}, "row 1 (d): models has m twice: keep one"),
        ({"deployments": [{"id": "d", "gpus": ["A", {"uuid": "A"}]}]}, "row 1 (d): gpus has A twice"),
        ({"deployments": [{"id": "d", "gpus": [{"host": "h"}]}]}, "{'host': 'h'} names no GPU"),
        ({"deployments": [{"id": "d", "gpus": [{"uuid": "A", "host": "h"}]}]}, "names no GPU: give its uuid"),
        ({"deployments": [{"id": "d", "gpus": [{"host": "h", "gpu_index": -1}]}]}, "gpu_index is -1"),
        (
            {"deployments": [{"id": "d", "role": "both"}]},
            "role is 'both': give one of serve, prefill, decode",
        ),
        (
            {
                "deployments": [
                    {"id": "a", "gpus": ["A", "B"], "valid_from": "2026-01-01T00:00:00Z"},
                    {"id": "b", "gpus": ["B"], "valid_from": "2026-01-02T00:00:00Z"},
                ]
            },
            "deployments: row 1 (a) and row 2 (b) both have GPU B from 2026-01-02T00:00:00Z on",
        ),
        (
            {
                "deployments": [
                    {"id": "a", "gpus": ["A"]},
                    {"id": "b", "gpus": [{"host": "h", "gpu_index": 0}]},
                ],
                "gpus": [{"uuid": "A", "host": "h", "gpu_index": 0, "valid_from": "2026-01-01T00:00:00Z"}],
            },
            "row 1 (a) and row 2 (b) both have GPU A from 2026-01-01T00:00:00Z on",
        ),
        (
            {"deployments": [{"id": "a"}, {"id": "a"}]},
            "row 1 (a) and row 2 (a) both have a from the beginning",
        ),
        (
            {"leases": [{"selector": {"host": "h"}}]},
            "(host h): gpus is missing, and the section gpus has none",
        ),
        ({"leases": [{"selector": {"gpu_name": "x"}}]}, "selector: 'gpu_name' is no field: use uuid, host"),
        ({"leases": [{"selector": {"uuid": "x"}, "gpus": 2}]}, "gpus is 2 of one uuid: leave gpus out"),
        (
            {
                "leases": [
                    {"selector": {"uuid": "x"}, "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
                ]
            },
            "leases, row 1 (uuid x): to is '2026-01-01T00:00:00Z', which is not after from",
        ),
        (
            {"leases": [{"selector": {"uuid": "x"}}, {"selector": {"uuid": "x"}}]},
            "leases: row 1 and row 2 both have GPU x from the beginning on",
        ),
        (
            {
                "leases": [{"selector": {"uuid": "x"}}, {"selector": {"host": "h"}}],
                "gpus": [{"uuid": "x", "host": "h"}],
            },
            "leases: row 1 and row 2 both have GPU x",
        ),
        ({"gpus": [{"host": "h"}]}, "gpus, row 1: it names no GPU: give its uuid"),
        ({"gpus": [{"uuid": "a", "card": "c"}]}, "share is missing beside card"),
        ({"gpus": [{"uuid": "a", "card": "a", "share": 1}]}, "card is 'a', its own uuid"),
        ({"gpus": [{"uuid": "a", "share": "1/0"}]}, "share is '1/0': give a number above 0, up to 1"),
        ({"gpus": [{"uuid": "a", "share": "1/00"}]}, "share is '1/00': give a number above 0"),
        ({"gpus": [{"uuid": "a", "share": 0}]}, "share is 0: give a number above 0"),
        ({"gpus": [{"uuid": "a", "share": "4/3"}]}, "share is '4/3'"),
        ({"gpus": [{"uuid": "a"}, {"uuid": "a"}]}, "gpus: row 1 and row 2 both have uuid a"),
        (
            {"gpus": [{"uuid": uuid, "host": "h", "gpu_index": 0} for uuid in "ab"]},
            "gpus: row 1 and row 2 both have place h/0",
        ),
        (
            {"gpus": [{"uuid": uuid, "card": "C", "share": "2/5"} for uuid in "abc"]},
            "gpus: the shares of the slices of card C add up to 6/5 from the beginning on: give at most 1",
        ),
        (
            {
                "gpus": [{"uuid": "M", "card": "G", "share": "1/2"}],
                "leases": [{"selector": {"uuid": "G"}}, {"selector": {"uuid": "M"}}],
            },
            "leases: row 1 and row 2 both have GPU M from the beginning on",
        ),
        (
            {
                "gpus": [{"uuid": "G", "host": "h"}, {"uuid": "M", "card": "G", "share": "1/2"}],
                "leases": [
                    {"selector": {"uuid": "M"}, "from": "2026-01-01T00:00:00Z"},
                    {"selector": {"host": "h"}},
                ],
            },
            "leases: row 1 and row 2 both have GPU M from 2026-01-01T00:00:00Z on",
        ),
        (
            {
                "gpus": [{"uuid": "M", "host": "h", "card": "G", "share": "1/2"}],
                "leases": [{"selector": {"host": "h"}}, {"selector": {"uuid": "G"}}],
            },
            "leases: row 1 and row 2 both have GPU M",
        ),
        (
            {
                "gpus": [
                    {"uuid": "M", "card": "G", "share": "1/2"},
                    {"uuid": "G", "card": "M", "share": "1/2", "valid_from": "2026-01-01T00:00:00Z"},
                ]
            },
            "gpus: row 1 is a slice of G, which by row 2 is a slice of M from 2026-01-01T00:00:00Z on: let",
        ),
        (
            {"gpus": [{"uuid": "M", "card": "G", "share": 1}, {"uuid": "G", "card": "H", "share": 1}]},
            "gpus: row 1 is a slice of G, which by row 2 is a slice of H from the beginning on: let each",
        ),
        (
            {"gpus": [{"uuid": "G", "share": 0.5}, {"uuid": "M", "card": "G", "share": "1/2"}]},
            "gpus: row 2 is a slice of G, which by row 1 has a share of 1/2 from the beginning on: leave",
        ),
        (
            {
                "gpus": [{"uuid": "G", "host": "h", "gpu_index": 0, "valid_from": "2026-01-01T00:00:00Z"}],
                "deployments": [{"id": "d", "gpus": ["G", {"host": "h", "gpu_index": 0}]}],
            },
            "deployments: row 1 (d) has GPU G twice from 2026-01-01T00:00:00Z on, as G and as h/0: keep one",
        ),
        ({"weights": {"prompt": 1}}, "weights: 'prompt' is no field"),
        ({"weights": {"completion": -1}}, "weights: completion is -1: give a number"),
        (
            {"weights": [{}, {}]},
            "weights: row 1 and row 2 both have the weights of tokens from the beginning on",
        ),
        ({"energy": {}}, "energy: usd_per_kwh is missing: give a number"),
        ({"aliases": ["a"]}, "aliases is ['a']: give a mapping"),
        ({"aliases": {"a": None}}, "aliases: a is missing: give a text"),
        ({"aliases": {1: "a"}}, "aliases is {1: 'a'}: give a mapping"),
        ({"aliases": {"a": "b", "b": "c", "c": "a"}}, "aliases: a -> b -> c -> a is a cycle"),
        ({"aliases": {"a": "a"}}, "aliases: a -> a is a cycle"),
        ({"aliases": {"a": "b", "NVIDIA a": "c"}}, "aliases: 'NVIDIA a' is both b and c: keep one"),
    ],
)
def test_a_mistake_is_one_sentence(data: Any, sentence: str) -> None:
    assert sentence in refusal(data)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the catalogue is empty: give a mapping of sections, {} for none."),
        ("# prices:", "the catalogue is empty: "),
        ("\ufeffenergy: 1", "energy is 1: give a list"),
        ("just text", "the catalogue is 'just text': give a mapping"),
        ("prices: []\nprices: []", "line 2: the key 'prices' stands twice: keep one."),
        ("energy:\n  usd_per_kwh: 1\n  usd_per_kwh: 2", "line 3: the key 'usd_per_kwh' stands twice"),
        ("prices: [", "line 2: this is no YAML ("),
        ("a: 1\n---\nb: 1", "this is no YAML ("),
        ("? [a]\n: 1", "this is no YAML ("),
        (
            "energy:\n  {usd_per_kwh: 1, valid_from: 2026-13-01}",
            "line 2: '2026-13-01' is no timestamp: mend it",
        ),
        (
            "energy: {valid_from: 2026-01-01T00:00:00+99:00}",
            "line 1: '2026-01-01T00:00:00+99:00' is no timest",
        ),
        (
            "energy: {usd_per_kwh: 1, valid_from: 0001-01-01}",
            "valid_from is 0001-01-01: give a time from 1970 on",
        ),
        ("energy: !!timestamp x", "line 1: 'x' is no timestamp: mend it"),
        ("energy: !!timestamp {=: x}", "line 1: [("),
        ("energy: !!map [1]", "line 1: this is no YAML (expected a mapping node"),
        ("energy: !!bool x", "line 1: 'x' is no bool"),
        ("energy: !!int ''", "line 1: '' is no int"),
        ("energy: !!float x", "line 1: 'x' is no float"),
        ("energy: {usd_per_kwh: " + "9" * 5_000 + "}", "line 1: '999"),
        (
            "energy: {usd_per_kwh: !!int '0x" + "f" * 5_000 + "'}",
            "usd_per_kwh is a number of many digits: give",
        ),
        ("energy: {usd_per_kwh: 1:30}", "usd_per_kwh is '1:30': give a number"),
        ("energy: {usd_per_kwh: 1:30.5}", "usd_per_kwh is '1:30.5': give a number"),
        ("energy: {usd_per_kwh: 010}", "usd_per_kwh is '010': give a number"),
        ("energy: {usd_per_kwh: 1e400}", "usd_per_kwh is inf: give a number"),
        ("energy: !!python/name:os.system", "this is no YAML ("),
        ("a: \x01", "this is no YAML ("),
        ("energy: " + "[" * 5_000, "this is no YAML ("),
        ("energy: &e [*e]", "energy, row 1 is [[[...]]]: give a mapping"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as refused:
        of_yaml(text, tmp_path)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path}/CATALOG.yml: ")
    assert sentence in said
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.yml cannot be read \(No such file or directory\): give"):
        load_catalog(tmp_path / "none.yml")


def test_yamls_merge_is_no_key_that_stands_twice(tmp_path: Path) -> None:
    text = "prices:\n- &a {selector: {host: h}, usd_per_hour: 1}\n- {<<: *a, selector: {host: i}}"
    assert [row.selector.value for row in of_yaml(text, tmp_path).prices] == ["h", "i"]


def test_the_version_tells_catalogues_apart_and_not_the_order_of_rows() -> None:
    rows = [price(), price(zone="a")]
    one, two = (parse_catalog({"prices": order}) for order in (rows, rows[::-1]))
    assert one.version == two.version == parse_catalog({"prices": rows}).version
    others = [{"prices": rows[:1]}, {"prices": rows, "aliases": {"a": "b"}}, {}]
    assert len({one.version, *(parse_catalog(other).version for other in others)}) == 4


def test_the_example_says_what_it_promises() -> None:
    catalog = load_catalog(EXAMPLE)
    deployments = {row.id: row for row in catalog.deployments}
    assert len(deployments["llama-405b"].gpus) == 8
    assert len(deployments["small-models"].models) == 2
    assert [deployments[f"llama-70b-{role}"].role for role in ("prefill", "decode")] == ["prefill", "decode"]
    assert sum(row.share for row in catalog.gpus if row.card) == 1
    prices = {(row.selector.value, row.zone, row.valid_to_us is None): row for row in catalog.prices}
    assert prices["p5.48xlarge", None, True].usd_per_gpu_hour == Fraction("6.88")
    assert prices["g6.xlarge", "us-east-1a", False].usd_per_gpu_hour == Fraction("0.31")
    assert prices["own-1", None, True].market == "owned"
    assert {row.market for row in catalog.leases} == {"on_demand", "spot"}


def test_the_example_names_every_field() -> None:
    """What can be written is shown, apart from what is the default."""
    text = EXAMPLE.read_text()
    for field in (*Deployment.__slots__, *Gpu.__slots__):
        assert f"{field}:" in text, field
    assert yaml.safe_load(text).keys() == {
        "deployments",
        "prices",
        "leases",
        "gpus",
        "weights",
        "energy",
        "budgets",
        "aliases",
    }
