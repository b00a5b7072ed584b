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
    now, then = stage.get(asked["path"], **asked["parameters"]), asked["answer"]
    if asked["path"] == "/gpu/info":
        now, then = gpus(now), gpus(then)
        # Those that had no price of their own have now the one that is in effect.
        now = {gpu: {**now[gpu], **unpriced(document)} for gpu, document in then.items()}
    for name, value in then.items():
        assert holds(now[name], value), name


def gpus(answer: dict[str, Any]) -> dict[str, Any]:
    """The GPUs by id: live ones come first now."""
    return {gpu["gpu_id"]: gpu for gpu in answer["items"]}


def unpriced(document: dict[str, Any]) -> dict[str, None]:
    return {name: None for name in ("price_per_hour_usd",) if document[name] is None}
