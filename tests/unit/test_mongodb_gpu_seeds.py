"""How the module mongodb_gpu_seeds tells GPUs apart and what it changes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_gpu_seeds as module

SEED = {"name": "RTX 3090", "gpu_index": 0, "power_w": 280}


def outcome(documents: list[dict[str, Any]], *seeds: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """The `_id` (None: a new document) and the fields of each planned change."""
    actions = module.plan(documents, list(seeds))
    return [(action.document and action.document["_id"], action.fields) for action in actions]


def test_inserts_a_gpu_that_lacks() -> None:
    assert outcome([], SEED) == [(None, SEED)]


def test_leaves_a_gpu_and_its_other_fields_alone() -> None:
    assert outcome([{"_id": 1, **SEED, "note": "ours"}], SEED) == []


def test_sets_only_the_fields_that_differ() -> None:
    documents = [{"_id": 1, **SEED}]
    actions = module.plan(documents, [{**SEED, "power_w": 300}])
    assert [action.fields for action in actions] == [{"power_w": 300}]
    assert module.diff(actions) == {
        "before": {"RTX 3090 #0": {"power_w": 280}},
        "after": {"RTX 3090 #0": {"power_w": 300}},
    }


def test_two_names_with_one_index_are_two_gpus() -> None:
    documents = [{"_id": 1, **SEED}]
    other = {**SEED, "name": "A100 40GB"}
    assert outcome(documents, SEED, other) == [(None, other)]


def test_a_document_without_uuid_takes_the_seeds() -> None:
    assert outcome([{"_id": 1, **SEED}], {**SEED, "uuid": "GPU-a"}) == [(1, {"uuid": "GPU-a"})]


def test_two_uuids_are_two_gpus() -> None:
    documents = [{"_id": 1, **SEED, "uuid": "GPU-a"}]
    second = {**SEED, "uuid": "GPU-b"}
    assert outcome(documents, {**SEED, "uuid": "GPU-a"}, second) == [(None, second)]


def test_a_seed_without_uuid_means_the_gpu_that_has_one() -> None:
    assert outcome([{"_id": 1, **SEED, "uuid": "GPU-a"}], SEED) == []


def test_refuses_one_gpu_twice() -> None:
    with pytest.raises(module.SeedsError, match="RTX 3090 #0 twice"):
        module.plan([], [SEED, {**SEED, "power_w": 1}])
