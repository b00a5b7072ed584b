"""Late events correct the past, and gaps cost nothing: the second example of docs/cost-model.md."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from gpu_token_processor.api.answers import Asked
from gpu_token_processor.api.models import CostAnswer
from gpu_token_processor.selection import Selection
from processor_fakes import NOW, TOPIC_METRIC, TOPIC_TOKEN, metric, usage
from processor_stage import Stage, at

START = NOW - timedelta(minutes=1)


def cost(stage: Stage, seconds: float = 120) -> CostAnswer:
    """Ask after the API's cache of a second has expired."""
    return stage.answers.cost(Asked(START, START + timedelta(seconds=seconds)), Selection())


def usd_per_million(answer: CostAnswer) -> float:
    usd = answer.wall_clock.cost_per_million_tokens_usd
    assert usd is not None
    return usd


@pytest.fixture
def stage() -> Stage:
    """A reading, a minute of silence, another; one request of 1,440 tokens."""
    made = Stage()
    made.send(TOPIC_METRIC, metric(ts=at(0)), metric(ts=at(60)))
    made.send(TOPIC_TOKEN, usage(ts=at(10)))
    return made


def test_a_gap_costs_nothing_and_is_named(stage: Stage) -> None:
    answer = cost(stage)
    assert (answer.gpu_seconds, answer.gap_seconds) == (60, 30)
    assert answer.wall_clock.cost_usd == pytest.approx(0.0141667, rel=1e-5)
    assert usd_per_million(answer) == pytest.approx(9.8380, rel=1e-5)


def test_a_late_reading_closes_the_gap(stage: Stage) -> None:
    stage.send(TOPIC_METRIC, metric(ts=at(30)))
    answer = cost(stage)
    assert (answer.gpu_seconds, answer.gap_seconds) == (90, 0)
    assert answer.wall_clock.cost_usd == pytest.approx(0.02125)
    assert usd_per_million(answer) == pytest.approx(14.757, rel=1e-4)


def test_a_late_request_shares_the_cost(stage: Stage) -> None:
    stage.send(TOPIC_METRIC, metric(ts=at(30)))
    stage.send(TOPIC_TOKEN, usage(ts=at(20)))
    assert usd_per_million(cost(stage)) == pytest.approx(7.3785, rel=1e-4)


def test_a_late_event_does_not_move_the_window(stage: Stage) -> None:
    before = stage.answers.cost(Asked(None, None), Selection()).window
    stage.send(TOPIC_TOKEN, usage(ts=at(20)))
    assert stage.answers.cost(Asked(None, None), Selection()).window == before


@pytest.mark.parametrize(("late_seconds", "stored"), [(0, 1), (1, 0)])
def test_the_past_ends_at_the_bound(late_seconds: float, stored: int) -> None:
    """What is older than the stage accepts is a dead letter and changes nothing."""
    stage = Stage()
    bound = NOW - timedelta(days=3650)
    stage.send(TOPIC_TOKEN, usage(ts=text(bound - timedelta(seconds=late_seconds))))
    assert stage.get("/usage")["totals"]["events"] == stored
    refused: list[dict[str, Any]] = stage.get("/dead-letters")["items"]
    assert [item["reason"] for item in refused] == ["too_late"] * (1 - stored)


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
