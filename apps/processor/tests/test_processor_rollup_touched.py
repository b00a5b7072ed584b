"""The hours that a batch is said to change are those whose counts it changes."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gpu_token_processor.ledger.exact import US_PER_HOUR, stored_us
from gpu_token_processor.rollups.touched import touched_hours

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = stored_us(NOON) // US_PER_HOUR
METRICS, USAGE = "gpu_metrics", "token_usage"


def touched(collection: str, *events: dict[str, Any], gap_seconds: float = 30) -> list[int]:
    hours = touched_hours(collection, events, timedelta(seconds=gap_seconds))
    return sorted(hour - HOUR for hour in hours)


def at(seconds: float, **fields: Any) -> dict[str, Any]:
    return {"ts": NOON + timedelta(seconds=seconds), **fields}


@pytest.mark.parametrize(
    ("collection", "events", "hours"),
    [
        (METRICS, [], []),
        (METRICS, [at(0)], [0]),
        (METRICS, [at(3_569.999)], [0]),
        # It covers nothing of the next hour, but says that there is no gap before it.
        (METRICS, [at(3_570)], [0, 1]),
        (METRICS, [at(0), at(7_200)], [0, 2]),
        (USAGE, [at(0)], [0]),
        (USAGE, [at(3_599)], [0]),
        (USAGE, [at(0, interval_seconds=1)], [-1, 0]),
        (USAGE, [at(10, interval_seconds=10)], [0]),
        (USAGE, [at(10, interval_seconds=7_200)], [-2, -1, 0]),
        (USAGE, [at(10, interval_seconds=20), at(3_599)], [-1, 0]),
    ],
)
def test_hours_of_a_batch(collection: str, events: list[dict[str, Any]], hours: list[int]) -> None:
    assert touched(collection, *events) == hours


def test_a_long_gap_reaches_over_many_hours() -> None:
    assert touched(METRICS, at(0), gap_seconds=86_400) == [*range(25)]


@pytest.mark.parametrize("seed", range(50))
def test_a_batch_touches_what_its_events_touch(seed: int) -> None:
    rng = random.Random(seed)
    span = rng.choice((60, 3_600, 90_000))
    for collection in (METRICS, USAGE):
        events = [at(rng.uniform(-span, span)) for _ in range(rng.randint(1, 30))]
        if collection == USAGE:
            for event in rng.sample(events, len(events) // 2):
                event["interval_seconds"] = rng.choice((0.5, 60.0, 9_000.0))
        gap = rng.choice((30, 5_400))
        each = {hour for event in events for hour in touched(collection, event, gap_seconds=gap)}
        assert touched(collection, *events, gap_seconds=gap) == sorted(each)
