"""Events as they were before the contract grew give the answers that they gave then."""

import json
from pathlib import Path
from typing import Any

import pytest
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN
from processor_stage import Stage

DATA = Path(__file__).with_name("data") / "version_1"
ANSWERS = json.loads((DATA / "answers.json").read_text())


@pytest.fixture(scope="module")
def stage() -> Stage:
    stage = Stage()
    for line in (DATA / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        stage.send(TOPIC_TOKEN if "model" in event else TOPIC_METRIC, event)
    return stage


def holds(now: Any, then: Any) -> bool:
    """Whether all that was answered is answered still; there may be more."""
    if isinstance(then, dict):
        return all(name in now and holds(now[name], value) for name, value in then.items())
    if isinstance(then, list):
        return len(now) == len(then) and all(map(holds, now, then))
    if isinstance(then, float):
        return bool(now == pytest.approx(then, rel=1e-9))
    return bool(now == then)


@pytest.mark.parametrize("asked", ANSWERS, ids=lambda asked: f"{asked['path']} {asked['parameters']}")
def test_the_answer_is_what_it_was(stage: Stage, asked: dict[str, Any]) -> None:
    now = stage.get(asked["path"], **asked["parameters"])
    for name, value in asked["answer"].items():
        assert holds(now[name], value), name
