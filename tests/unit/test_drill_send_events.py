"""What the load sends: events that the contract takes, and poison that it refuses for the right reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gpu_token_contracts import (
    GpuMetric,
    InvalidEvent,
    Reason,
    TimeBounds,
    decode_gpu_metric,
    decode_token_usage,
    encode,
)

from drill.remote.send_events import KINDS, event, poison

REASONS = {
    "wrong type": Reason.WRONG_TYPE,
    "negative": Reason.OUT_OF_RANGE,
    "absurd": Reason.OUT_OF_RANGE,
    "2 MB": Reason.TOO_LARGE,
    "past": Reason.BAD_TIMESTAMP,
    "future": Reason.BAD_TIMESTAMP,
    "missing field": Reason.MISSING_FIELD,
    "unknown version": Reason.UNKNOWN_VERSION,
    "invalid UTF-8": Reason.INVALID_UTF8,
    "invalid JSON": Reason.INVALID_JSON,
    "NaN": Reason.NOT_FINITE,
    "tombstone": Reason.TOMBSTONE,
}


def test_good_events_carry_their_number_and_some_have_no_id() -> None:
    events = [event("drill-x", number) for number in range(1, 101)]
    for number, made in enumerate(events, 1):
        if isinstance(made, GpuMetric):
            assert decode_gpu_metric(encode(made)).mem_used_mb == number
        else:
            assert decode_token_usage(encode(made)).prompt_tokens == number
    assert sum(isinstance(made, GpuMetric) for made in events) == 25
    assert sum(made.event_id is None for made in events) == 33
    assert {made.host for made in events} == {"drill-x"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [3, 4])
def test_poison_is_refused_for_its_reason(kind: str, number: int) -> None:
    made = event("drill-x", number)
    decode = decode_gpu_metric if isinstance(made, GpuMetric) else decode_token_usage
    value = poison(encode(made), kind)
    bounds = TimeBounds.around(
        datetime.now(UTC), max_age=timedelta(days=3650), max_ahead=timedelta(minutes=10)
    )
    with pytest.raises(InvalidEvent) as refused:
        decode(value, bounds)
    assert refused.value.reason_code == REASONS[kind]


def test_every_kind_is_known() -> None:
    assert set(KINDS) == set(REASONS)
