"""Official images or built ones."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.images import choose, official, recipes, store
from lab.images.builder import Builder

from .lab_images import fleet, stored


@pytest.fixture
def ensure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bool], Any]:
    """``ensure`` with a builder that only names things; returns the set and what was reported."""
    monkeypatch.setattr(choose, "ENGINE_LOCK", tmp_path / "lock")
    monkeypatch.setattr(Builder, "in_engine", lambda _self, recipe: recipe.engine_name)
    monkeypatch.setattr(Builder, "in_store", lambda _self, recipe: recipe.reference)
    monkeypatch.setattr(Builder, "drop", lambda _self, _recipe: None)

    def call(mode: str, reachable: bool) -> Any:
        monkeypatch.setattr(official, "is_served", lambda _reference, _seconds: reachable)
        said: list[str] = []
        return choose.ensure(tmp_path / "cache", mode, fleet(), said.append), said

    return call


@pytest.mark.parametrize(
    ("mode", "reachable", "source"),
    [
        ("auto", True, "official"),
        ("auto", False, "built"),
        ("built", True, "built"),
        ("official", False, "official"),
    ],
)
def test_one_line_says_which_images(
    ensure: Callable[[str, bool], Any], mode: str, reachable: bool, source: str
) -> None:
    images, said = ensure(mode, reachable)
    assert images.source == source
    assert images.machine.startswith("gpu-token-lab/machine:")
    assert (images.kafka == "apache/kafka:4.1.1") is (source == "official")
    assert len(said) == 1
    assert said[0].startswith("Images: official" if source == "official" else "Images: built")


def test_auto_keeps_to_what_was_built(ensure: Callable[[str, bool], Any], tmp_path: Path) -> None:
    wanted = recipes.services(fleet())
    for recipe in (wanted.python, wanted.kafka, wanted.mongo):
        stored(store.registry_root(tmp_path / "cache"), recipe.repository, recipe.tag)
    assert ensure("auto", True)[0].source == "built"


def test_lab_that_waits_for_another_says_so(
    ensure: Callable[[str, bool], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def flock(_file: object, operation: int) -> None:
        tries.append(operation)
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError

    monkeypatch.setattr("fcntl.flock", flock)
    said = ensure("built", False)[1]
    assert said[0].startswith("Images: waiting")
    assert len(tries) == 2
