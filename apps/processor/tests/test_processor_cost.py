from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from gpu_token_processor.cost import (
    GpuCost,
    Prices,
    Reading,
    UsageRow,
    accrue,
    per_token,
    share,
)
from hypothesis import given
from hypothesis import strategies as st

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
PRICES = Prices({"A100 40GB": 3.2}, default_usd=0.85)


def reading(
    at_seconds: float,
    gpu_id: str = "gpu",
    price: float | None = 0.85,
    name: str | None = None,
    utilization: float | None = 0.5,
    power_w: float | None = 280,
) -> Reading:
    return Reading(gpu_id, T0 + timedelta(seconds=at_seconds), "host", 0, name, utilization, power_w, price)


def cost_of(readings: Sequence[Reading], seconds: float = 30, gap_seconds: float = 30) -> list[GpuCost]:
    return accrue(readings, T0, T0 + timedelta(seconds=seconds), gap_seconds, PRICES)


def test_worked_example_of_the_docs() -> None:
    """One RTX 3090 at 0.85 USD/h, half used, 280 W; two events a second of 1,440 tokens; 30 s."""
    (gpu,) = cost_of([reading(second) for second in range(-1, 30)])
    tokens = 30 * 2 * 1440
    assert gpu.covered_seconds == 30
    assert gpu.wall_clock_usd == pytest.approx(0.0070833, rel=1e-4)
    assert per_token(gpu.wall_clock_usd, tokens) == pytest.approx(8.198e-8, rel=1e-3)
    assert per_token(gpu.utilization_weighted_usd, tokens) == pytest.approx(4.099e-8, rel=1e-3)
    assert gpu.energy_kwh == pytest.approx(0.0023333, rel=1e-4)
    assert per_token(gpu.energy_kwh * 0.2, tokens) == pytest.approx(5.401e-9, rel=1e-3)


def test_no_fence_post_error() -> None:
    """30 readings a second apart are 30 s, not 29."""
    (gpu,) = cost_of([reading(second) for second in range(30)])
    assert (gpu.covered_seconds, gpu.readings) == (30, 30)


def test_a_gap_is_a_gap() -> None:
    (gpu,) = cost_of([reading(0), reading(100)], seconds=200, gap_seconds=30)
    assert (gpu.covered_seconds, gpu.gap_seconds) == (60, 70)


def test_an_earlier_reading_still_holds() -> None:
    (gpu,) = cost_of([reading(-10)], seconds=60, gap_seconds=30)
    assert (gpu.covered_seconds, gpu.readings) == (20, 0)


def test_a_gpu_that_ended_before_is_not_named() -> None:
    assert cost_of([reading(-31)]) == []


@pytest.mark.parametrize(
    ("price", "name", "expected_usd", "source"),
    [
        (1.5, "A100 40GB", 1.5, "event"),
        (0.0, "A100 40GB", 0.0, "event"),
        (None, "A100 40GB", 3.2, "inventory"),
        (None, "H100", 0.85, "default"),
        (None, None, 0.85, "default"),
    ],
)
def test_price(price: float | None, name: str | None, expected_usd: float, source: str) -> None:
    (gpu,) = cost_of([reading(0, price=price, name=name)], seconds=3600, gap_seconds=3600)
    assert (gpu.wall_clock_usd, gpu.price_source) == (pytest.approx(expected_usd), source)


def test_a_price_that_changes_counts_from_when_it_does() -> None:
    (gpu,) = cost_of([reading(0, price=1), reading(1800, price=3)], seconds=3600, gap_seconds=1800)
    assert gpu.wall_clock_usd == pytest.approx(2.0)


def test_absent_utilization_and_power_count_as_none() -> None:
    (gpu,) = cost_of([reading(0, utilization=None, power_w=None)])
    assert (gpu.utilization_weighted_usd, gpu.energy_kwh) == (0, 0)


def test_no_token_is_no_division() -> None:
    assert per_token(1.0, 0) is None
    assert per_token(None, 10) is None
    assert per_token(0.0, 10) == 0.0


seconds = st.lists(st.integers(-60_000, 120_000), min_size=1, max_size=30).map(
    lambda milliseconds: sorted(one / 1000 for one in milliseconds)
)


@given(seconds, st.floats(0.5, 90), st.floats(1, 100))
def test_parts_add_up_to_the_whole(times: list[float], gap_seconds: float, cut: float) -> None:
    """Any range costs what its two halves cost, whatever the arrival of readings was."""
    end, middle = T0 + timedelta(seconds=101), T0 + timedelta(seconds=cut)
    readings = [reading(at) for at in times]

    def usd(start: datetime, until: datetime) -> float:
        held = [one for one in readings if start - timedelta(seconds=gap_seconds) <= one.ts < until]
        return sum(gpu.wall_clock_usd for gpu in accrue(held, start, until, gap_seconds, PRICES))

    assert usd(T0, middle) + usd(middle, end) == pytest.approx(usd(T0, end), abs=1e-12)


@given(seconds, st.floats(0.5, 90))
def test_never_more_than_the_range(times: list[float], gap_seconds: float) -> None:
    for gpu in cost_of([reading(at) for at in times], gap_seconds=gap_seconds):
        assert 0 <= gpu.covered_seconds <= 30.000001
        assert gpu.covered_seconds + gpu.gap_seconds <= 30.000001


def gpu_cost(gpu_id: str, usd: float, host: str = "host", gpu_index: int = 0) -> GpuCost:
    return GpuCost(gpu_id, host, gpu_index, None, wall_clock_usd=usd)


def row(model: str, tokens: int, host: str = "host", gpu_index: int = 0, uuid: str | None = None) -> UsageRow:
    return UsageRow(model, host, gpu_index, uuid, events=1, prompt_tokens=tokens, completion_tokens=0)


def shared(gpus: list[GpuCost], rows: list[UsageRow]) -> tuple[dict[str, float], float, dict[str, int]]:
    shares = share(gpus, rows, lambda gpu: gpu.wall_clock_usd)
    return shares.model_usd, shares.idle_usd, shares.gpu_tokens


def test_models_share_their_gpu_by_tokens() -> None:
    assert shared([gpu_cost("a", 4.0)], [row("x", 300), row("y", 100)]) == (
        {"x": 3.0, "y": 1.0},
        0.0,
        {"a": 400},
    )


def test_models_on_other_gpus_do_not_pay() -> None:
    gpus = [gpu_cost("a", 4.0), gpu_cost("b", 1.0, host="other")]
    assert shared(gpus, [row("x", 300), row("y", 100, host="other")]) == (
        {"x": 4.0, "y": 1.0},
        0.0,
        {"a": 300, "b": 100},
    )


def test_a_gpu_without_tokens_is_idle() -> None:
    gpus = [gpu_cost("a", 4.0), gpu_cost("b", 1.0, gpu_index=1)]
    assert shared(gpus, [row("x", 300)]) == ({"x": 4.0}, 1.0, {"a": 300, "b": 0})


def test_two_gpus_of_index_0_are_shared_as_one_unless_named() -> None:
    gpus = [gpu_cost("a", 4.0), gpu_cost("b", 1.0)]
    assert shared(gpus, [row("x", 300)]) == ({"x": 5.0}, 0.0, {})
    assert shared(gpus, [row("x", 300, uuid="a"), row("y", 10)]) == (
        {"x": 4.0, "y": 1.0},
        0.0,
        {"a": 300, "b": 10},
    )


def test_tokens_of_an_unknown_gpu_cost_nobody() -> None:
    assert shared([gpu_cost("a", 4.0)], [row("x", 1, host="elsewhere")]) == ({}, 4.0, {"a": 0})
