"""What the module mongodb_indexes reads, plans and shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_indexes as module

from testing.store import DATABASE, Store
from testing.waiting import until

INFORMATION = {
    "_id_": {"v": 2, "key": [("_id", 1)]},
    "ts_1": {"v": 2, "key": [("ts", 1.0)]},
    "by_model": {"v": 2, "key": [("model", 1), ("ts", -1)], "unique": True},
    "kept_1": {"v": 2, "key": [("kept", 1)], "expireAfterSeconds": 3600},
    "text": {"v": 2, "key": [("_fts", "text")]},
}
PRESENT = {"usage": module.present_indexes("usage", INFORMATION)}


def plan(*wanted: dict[str, Any], version: tuple[int, ...] = (7, 0, 1, 0)) -> list[Any]:
    """The actions planned for indexes of the described collection."""
    params = [{"collection": "usage", "options": None, **index} for index in wanted]
    actions: list[Any] = module.plan(PRESENT, [module.wanted_index(index) for index in params], list(version))
    return actions


def test_plans_nothing_for_what_is_there_under_any_name() -> None:
    assert (
        plan({"keys": ["ts"]}, {"keys": ["model", "-ts"], "options": {"unique": True, "name": "other"}}) == []
    )


def test_an_option_that_is_off_equals_one_that_is_not_there() -> None:
    assert plan({"keys": ["ts"], "options": {"unique": False}}) == []


def test_creates_what_is_missing() -> None:
    [action] = plan({"keys": ["host", "-ts"]})
    assert action.index.keys == (("host", 1), ("ts", -1))
    assert action.present is None
    assert action.sentence == "create index host_1_ts_-1 of usage"


def test_order_of_fields_makes_another_index() -> None:
    [action] = plan({"keys": ["-ts", "model"]})
    assert action.present is None


def test_replaces_an_index_whose_options_differ() -> None:
    actions = plan({"keys": ["model", "-ts"]}, {"keys": ["ts"], "options": {"unique": True}})
    assert [(action.present, action.in_place) for action in actions] == [("by_model", False), ("ts_1", False)]
    assert module.diff(PRESENT, actions) == {
        "before": {"usage.model_1_ts_-1": {"unique": True}, "usage.ts_1": {}},
        "after": {"usage.model_1_ts_-1": {}, "usage.ts_1": {"unique": True}},
    }


@pytest.mark.parametrize(
    ("keys", "options", "version", "in_place"),
    [
        (["ts"], {"expireAfterSeconds": 60}, (7, 0, 1, 0), True),
        (["ts"], {"expireAfterSeconds": 60}, (4, 4, 29, 0), False),
        (["kept"], {"expireAfterSeconds": 60}, (4, 4, 29, 0), True),
        (["kept"], {}, (7, 0, 1, 0), False),
        (["kept"], {"expireAfterSeconds": 60, "sparse": True}, (7, 0, 1, 0), False),
    ],
    ids=["added", "added-before-5.1", "changed-before-5.1", "taken-away", "and-another-option"],
)
def test_an_expiry_changes_in_place_where_the_store_can(
    keys: list[str], options: dict[str, Any], version: tuple[int, ...], in_place: bool
) -> None:
    [action] = plan({"keys": keys, "options": options}, version=version)
    assert (action.present, action.in_place) == (f"{keys[0]}_1", in_place)


def test_an_expiry_that_is_there_is_left_alone() -> None:
    assert plan({"keys": ["kept"], "options": {"expireAfterSeconds": 3600}}) == []


def test_a_shorter_time_is_set_in_the_index_that_is_there_and_the_store_deletes(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    wanted = {"collection": "usage", "keys": ["ts"], "options": {"expireAfterSeconds": 5400}}
    with Store.plain(tmp_path).running() as store, store.client() as client:
        database = client[DATABASE]
        database["usage"].create_index("ts", name="by_time")
        database["usage"].insert_many([{"ts": now - timedelta(hours=hours)} for hours in range(4)])
        for _ in range(2):
            there = {"usage": module.present_indexes("usage", database["usage"].index_information())}
            actions = module.plan(there, [module.wanted_index(wanted)], [7, 0])
            for action in actions:
                action.run(database)
        assert actions == []
        assert set(database["usage"].index_information()) == {"_id_", "by_time"}
        # MongoDB, and its stand-in, look once a minute.
        until(lambda: database["usage"].count_documents({}) == 2, "what is too old is deleted", 180)
