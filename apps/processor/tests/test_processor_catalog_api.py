"""The catalogue in the API."""

from pathlib import Path
from typing import Any

import pytest
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import load_catalog, parse_catalog
from processor_stage import Stage
from pymongo.errors import ServerSelectionTimeoutError

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "catalog.yml"
PATHS = ("/deployments", "/prices", "/leases")


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.reads.declared = load_catalog(EXAMPLE)
    return made


def test_an_empty_catalogue_has_a_version_too() -> None:
    stage = Stage()
    stage.reads.declared = Catalog()
    assert {path: stage.get(path)["items"] for path in PATHS} == {path: [] for path in PATHS}
    assert stage.get("/prices")["version"] == stage.reads.declared.version


def test_all_rows_and_the_version_they_are_of(stage: Stage) -> None:
    for path in PATHS:
        answer = stage.get(path)
        assert answer["version"] == stage.reads.declared.version
        assert len(answer["items"]) == len(getattr(stage.reads.declared, path[1:]))
    ids = [row["id"] for row in stage.get("/deployments")["items"]]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("at", "usd"),
    [
        ("2026-02-28T23:59:59.999999Z", []),
        ("2026-03-01T00:00:00Z", [0.31]),
        ("2026-03-01T06:59:59+01:00", [0.31]),
        ("2026-03-01T06:00:00Z", [0.36]),
        ("2100-01-01T00:00:00Z", [0.36]),
    ],
)
def test_rows_that_hold_at_a_time(stage: Stage, at: str, usd: list[float]) -> None:
    items = stage.get("/prices", at=at)["items"]
    assert [row["usd_per_gpu_hour"] for row in items if row["zone"] == "us-east-1a"] == usd


@pytest.mark.parametrize("path", PATHS)
def test_openapi_shows_a_row_of_the_example(stage: Stage, path: str) -> None:
    (row,) = shown(stage, path)["items"]
    assert row in stage.get(path)["items"]


def shown(stage: Stage, path: str) -> Any:
    """The example of the OpenAPI document."""
    document = stage.get("/openapi.json")
    (content,) = document["paths"][path]["get"]["responses"]["200"]["content"].values()
    return document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]["examples"][0]


def test_parts_of_a_gpu_hour_are_numbers(stage: Stage) -> None:
    rows = [{"selector": {"host": "h"}, "per": "instance", "gpus": 3, "usd_per_hour": 1, "source": "s"}]
    stage.reads.declared = parse_catalog({"prices": rows})
    assert stage.get("/prices")["items"] == [
        {
            "valid_from": None,
            "valid_to": None,
            "selector": {"kind": "host", "value": "h"},
            "usd_per_gpu_hour": 1 / 3,
            "market": "on_demand",
            "zone": None,
            "source": "s",
        }
    ]


def test_a_store_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ServerSelectionTimeoutError("mongo-1:27017")

    stage = Stage()
    monkeypatch.setattr(stage.reads, "catalog", fail)
    response = stage.client.get("/prices")
    assert (response.status_code, response.json()["title"]) == (503, "The store does not answer")
    assert "mongo-1" not in response.text
