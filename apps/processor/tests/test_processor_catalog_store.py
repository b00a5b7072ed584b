"""The catalogue in a real store, and the command that keeps it there."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpu_token_processor.ledger import catalog_command, catalog_store
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import load_catalog, parse_catalog
from gpu_token_processor.ledger.catalog_store import apply, read_catalog
from gpu_token_processor.store.collections import CATALOG
from pymongo import MongoClient
from pymongo.database import Database

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Store = Database[dict[str, Any]]


@pytest.fixture
def store(mongo_url: str, mongo_database: str) -> Iterator[Store]:
    """The test's database."""
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield client[mongo_database]


def prices(**usd_per_hour: float) -> Catalog:
    rows = [{"selector": {"gpu_name": name}, "usd_per_hour": usd} for name, usd in usd_per_hour.items()]
    return parse_catalog({"prices": rows})


def versions(store: Store) -> list[dict[str, Any]]:
    return list(store[CATALOG].find().sort("_id"))


def test_a_store_without_a_version_has_an_empty_catalogue(store: Store) -> None:
    assert read_catalog(store) == Catalog()
    assert apply(store, Catalog(), NOON).actions == []
    assert versions(store) == []


def test_what_is_applied_is_what_is_read(store: Store) -> None:
    wanted = load_catalog(ROOT / "docs" / "examples" / "catalog.yml")
    assert apply(store, wanted, NOON).actions
    kept = read_catalog(store)
    assert kept.version == wanted.version
    assert kept == wanted
    (version,) = versions(store)
    assert (version["_id"], version["applied_at"], version["digest"]) == (1, NOON, wanted.digest)


def test_a_budget_that_changes_is_read_and_the_version_that_cost_depends_on_stays(store: Store) -> None:
    for hour, usd in enumerate((100, 200)):
        wanted = parse_catalog({"budgets": [{"name": "b", "usd_per_month": usd}]})
        assert apply(store, wanted, NOON + timedelta(hours=hour)).actions
        kept = read_catalog(store)
        assert [row.usd_per_month for row in kept.budgets if row.valid_to_us is None] == [usd]
        assert kept.version == Catalog().version
        assert apply(store, wanted, NOON + timedelta(hours=5)).actions == []


def test_a_version_of_before_budgets_is_read(store: Store) -> None:
    apply(store, prices(H100=4), NOON)
    store[CATALOG].update_one({"_id": 1}, {"$unset": {"budgets": ""}})
    catalog_store._last_read.clear()
    assert read_catalog(store) == prices(H100=4)


def test_names_that_are_no_names_of_fields(store: Store) -> None:
    wanted = parse_catalog({"aliases": {"$x": "a.b", "a.": "$", "\N{SNOWMAN}": "c"}})
    apply(store, wanted, NOON)
    assert read_catalog(store) == wanted


def test_a_second_run_writes_nothing_and_a_change_a_version(store: Store) -> None:
    apply(store, prices(A=1, B=2), NOON)
    assert apply(store, prices(A=1, B=2), NOON + timedelta(hours=1)).actions == []
    first = versions(store)
    later = NOON + timedelta(hours=2, microseconds=999)
    assert len(apply(store, prices(A=1, B=3), later).actions) == 1
    assert versions(store)[:1] == first
    assert versions(store)[1]["_id"] == 2
    ended = {row.selector.value: row.valid_to_us for row in read_catalog(store).prices if row.valid_to_us}
    assert ended == {"B": int((NOON + timedelta(hours=2)).timestamp() * 1e6)}


def test_a_dry_run_writes_nothing_and_says_the_same(store: Store) -> None:
    dry = apply(store, prices(A=1), NOON, check=True)
    assert (versions(store), read_catalog(store)) == ([], Catalog())
    assert apply(store, prices(A=1), NOON) == dry


def test_what_was_read_is_kept_until_another_version_is_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(store, prices(A=1), NOON)
    first = read_catalog(store)
    with monkeypatch.context() as patched:
        patched.setattr(catalog_store, "_catalog", lambda _: pytest.fail("read again"))
        assert read_catalog(store) is first
    apply(store, prices(A=2), NOON + timedelta(hours=1))
    assert read_catalog(store).version != first.version


def test_many_at_once_make_one_version(store: Store) -> None:
    wanted = [prices(A=1, B=2) for _ in range(6)]
    start, plans = threading.Barrier(len(wanted)), []

    def run(catalog: Catalog) -> None:
        start.wait()
        plans.append(apply(store, catalog, datetime.now(UTC)))

    threads = [threading.Thread(target=run, args=[catalog]) for catalog in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bool(planned.actions) for planned in plans) == [False] * 5 + [True]
    assert len(versions(store)) == 1


def test_prices_of_the_old_inventory_are_taken_over_once(store: Store) -> None:
    store["gpus"].insert_many(
        [
            {"name": "RTX 3090", "gpu_index": 0, "price_per_hour_usd": 0.85},
            {"name": "NVIDIA L40S", "price_per_hour_usd": 1.1},
            {"name": "H100", "price_per_hour_usd": "much"},
            {"name": "B200", "price_per_hour_usd": float("nan")},
            {"name": "V100", "price_per_hour_usd": -1},
            {"name": "T4"},
            {"price_per_hour_usd": 1},
        ]
    )
    wanted = parse_catalog({"prices": [{"selector": {"gpu_name": "RTX 3090"}, "usd_per_hour": 0.85}]})
    done = apply(store, wanted, NOON)
    assert len(done.actions) == 2
    assert "add gpu_name L40S, on_demand: 1.1 USD per GPU hour (the collection gpus of an" in done.actions[0]
    kept = {row.selector.value: row.usd_per_gpu_hour for row in read_catalog(store).prices}
    assert kept == {"RTX 3090": Fraction("0.85"), "L40S": Fraction("1.1")}
    store["gpus"].insert_one({"name": "A10", "price_per_hour_usd": 1})
    assert apply(store, wanted, NOON + timedelta(hours=1)).actions == []


@pytest.fixture
def command(
    mongo_url: str, mongo_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> "Command":
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("MONGO_DATABASE", mongo_database)
    return Command(tmp_path / "catalog.yml")


class Command:
    """gpu-token-catalog on a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, content: Any) -> None:
        self.file.write_text(yaml.safe_dump(content))

    def __call__(self, *arguments: str) -> int:
        return catalog_command.main([*arguments, str(self.file)])


def row(usd: float) -> dict[str, Any]:
    return {"prices": [{"selector": {"gpu_name": "H100"}, "usd_per_hour": usd}]}


def test_the_command_applies_and_says_so(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.write(row(4))
    told = []
    for arguments in (["apply", "--check"], ["apply"], ["apply"], ["apply", "--check"]):
        assert command(*arguments) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert [one["changed"] for one in told] == [True, True, False, False]
    assert told[0] == told[1]
    assert told[1]["actions"] == ["prices: add gpu_name H100, on_demand: 4 USD per GPU hour from ever"]
    assert told[1]["before"] == {"prices gpu_name H100, on_demand": []}
    assert told[1]["after"] == {"prices gpu_name H100, on_demand": ["4 USD per GPU hour from ever"]}
    assert {one["version"] for one in told} == {load_catalog(command.file).version}


def test_the_command_reads_standard_input(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command.write({"prices": {}})
    with command.file.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert catalog_command.main(["apply", "-"]) == 2
    assert capsys.readouterr().err == "standard input: prices is {}: give a list of mappings.\n"


def test_the_command_checks_without_a_store(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGO_URL")
    command.write(row(4))
    assert command("check") == 0
    version = load_catalog(command.file).version
    assert capsys.readouterr().out == f"{command.file} is right; its version is {version}.\n"
    command.write(row(-4))
    assert command("check") == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"{command.file}: prices, row 1 (gpu_name H100): usd_per_hour is -4: give a number"
    )
    assert said.count("\n") == 1
    command.write(row(4))
    assert command("apply") == 2
    assert capsys.readouterr().err.startswith("MONGO_URL is not set: give a mongodb:// address")


def test_what_contradicts_history_is_refused_and_nothing_is_written(
    command: Command, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    dated = row(4)
    dated["prices"][0]["valid_from"] = "2026-01-01T00:00:00Z"
    command.write(dated)
    assert command("apply") == 0
    dated["prices"][0]["usd_per_hour"] = 3
    command.write(dated | {"energy": {"usd_per_kwh": 1}})
    assert command("apply") == 2
    assert "what has held is not rewritten" in capsys.readouterr().err
    assert len(versions(store)) == 1


def test_a_store_that_does_not_answer(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGO_URL", "mongodb://127.0.0.1:1")
    command.write(row(4))
    assert command("apply") == 1
    said = capsys.readouterr().err
    assert said.startswith("The catalogue is not applied: ServerSelectionTimeoutError: 127.0.0.1:1: ")
