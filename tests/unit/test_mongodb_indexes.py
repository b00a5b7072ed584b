"""What the module mongodb_indexes reads, plans and shows."""

from __future__ import annotations

from typing import Any

from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_indexes as module

INFORMATION = {
    "_id_": {"v": 2, "key": [("_id", 1)]},
    "ts_1": {"v": 2, "key": [("ts", 1.0)]},
    "by_model": {"v": 2, "key": [("model", 1), ("ts", -1)], "unique": True},
    "text": {"v": 2, "key": [("_fts", "text")]},
}
PRESENT = {"usage": module.present_indexes("usage", INFORMATION)}


def plan(*wanted: dict[str, Any]) -> list[Any]:
    """The actions planned for indexes of the described collection."""
    params = [{"collection": "usage", "options": None, **index} for index in wanted]
    actions: list[Any] = module.plan(PRESENT, [module.wanted_index(index) for index in params])
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
    assert action.drop is None
    assert action.sentence == "create index host_1_ts_-1 of usage"


def test_order_of_fields_makes_another_index() -> None:
    [action] = plan({"keys": ["-ts", "model"]})
    assert action.drop is None


def test_replaces_an_index_whose_options_differ() -> None:
    actions = plan({"keys": ["model", "-ts"]}, {"keys": ["ts"], "options": {"expireAfterSeconds": 60}})
    assert [action.drop for action in actions] == ["by_model", "ts_1"]
    assert module.diff(PRESENT, actions) == {
        "before": {"usage.model_1_ts_-1": {"unique": True}, "usage.ts_1": {}},
        "after": {"usage.model_1_ts_-1": {}, "usage.ts_1": {"expireAfterSeconds": 60}},
    }
