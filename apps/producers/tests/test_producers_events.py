"""Replay and generator make valid events from their input, the same ones each time."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gpu_token_contracts import (
    GpuMetric,
    TokenUsage,
    decode_gpu_metric,
    decode_token_usage,
    encode,
    format_ts,
)
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.generator import pairs
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.replay import ReplayPlan, Silence, estimated_latency_ms, replay_events
from gpu_token_producers.traces.rows import BrokenRow
from gpu_token_producers.traces.trace import open_trace

EXCERPT = Path(__file__).parent / "data" / "azure-llm-2023-code-excerpt.csv"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def planned(trace: Path = EXCERPT, *, interval: float = 5, repeat: int = 1) -> ReplayPlan:
    return ReplayPlan(
        trace=open_trace(trace),
        model="code",
        host="gpu-host-1",
        gpus=load_gpus(BUILT_IN_SEED),
        metrics_interval_seconds=interval,
        repeat=repeat,
    )


def events(trace: Path = EXCERPT, *, interval: float = 5, repeat: int = 1) -> list[object]:
    return list(replay_events(planned(trace, interval=interval, repeat=repeat)))


def usages(of: list[object]) -> list[TokenUsage]:
    return [event for event in of if isinstance(event, TokenUsage)]


def metrics(of: list[object]) -> list[GpuMetric]:
    return [event for event in of if isinstance(event, GpuMetric)]


def test_a_trace_that_is_older_than_what_the_store_keeps_is_refused_before_anything_is_sent() -> None:
    first = usages(events())[0].ts
    kept = replace(planned(), kept_from=first)
    assert usages(list(replay_events(kept)))[0].ts == first
    late = replace(planned(), kept_from=first + timedelta(microseconds=1))
    with pytest.raises(ProducerError) as caught:
        next(replay_events(late))
    assert str(caught.value).startswith(
        f"The trace begins at {format_ts(first)}, and the store keeps events only"
    )
    assert "retention.raw_days" in str(caught.value)


def write_trace(tmp_path: Path, *lines: str) -> Path:
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    return trace


def test_the_seed_gpus_are_those_the_system_has_always_had() -> None:
    gpus = load_gpus(BUILT_IN_SEED)
    assert [
        (gpu.gpu_index, gpu.name, gpu.mem_total_mb, gpu.power_w, gpu.price_per_hour_usd) for gpu in gpus
    ] == [(0, "RTX 3090", 24576, 280, 0.85), (0, "A100 40GB", 40960, 210, 3.2)]
    assert len({gpu.uuid for gpu in gpus}) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "names no GPU"),
        ("{", "cannot be used"),
        ('[{"gpu_index": 0}]', "missing required field"),
        ('[{"gpu_index": -1}]', "gpu_index"),
        (None, "No such file"),
    ],
)
def test_a_seed_file_that_cannot_be_used_is_named(content: str | None, said: str, tmp_path: Path) -> None:
    seed = tmp_path / "gpus.json"
    if content is not None:
        seed.write_text(content)
    with pytest.raises(ProducerError, match=said) as caught:
        load_gpus(seed)
    assert str(seed) in str(caught.value)


def test_two_gpus_may_not_share_a_uuid(tmp_path: Path) -> None:
    seed = tmp_path / "gpus.json"
    seed.write_text(BUILT_IN_SEED.read_text().replace("GPU-a1000040", "GPU-3090a1f2").replace("0002", "0001"))
    with pytest.raises(ProducerError, match="twice"):
        load_gpus(seed)


def test_a_replay_has_each_request_once_with_its_tokens() -> None:
    sent = usages(events())
    assert len(sent) == 200
    assert sum(usage.prompt_tokens for usage in sent) == 414_215
    assert sum(usage.completion_tokens for usage in sent) == 4_907
    assert Counter(usage.gpu_uuid for usage in sent) == Counter(
        {gpu.uuid: 100 for gpu in load_gpus(BUILT_IN_SEED)}
    )


def test_every_event_of_a_replay_keeps_the_contract() -> None:
    for event in events():
        if isinstance(event, GpuMetric):
            assert decode_gpu_metric(encode(event)) == event
        else:
            assert isinstance(event, TokenUsage)
            assert decode_token_usage(encode(event)) == event


def test_the_same_trace_makes_the_same_events_wherever_it_lies(tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_bytes(EXCERPT.read_bytes())
    assert events(copy) == events()


def test_ids_are_unique_even_when_repeated() -> None:
    made = [*usages(events(repeat=3)), *metrics(events(repeat=3))]
    assert len({event.event_id for event in made}) == len(made)
    assert {event.event_id for event in usages(events())} <= {event.event_id for event in made}


def test_a_repetition_is_the_same_later() -> None:
    sent = usages(events(repeat=2))
    first, second = sent[:200], sent[200:]
    shift = second[0].ts - first[0].ts
    assert shift == first[-1].ts - first[0].ts + timedelta(seconds=1)
    assert all(late.ts - early.ts == shift for early, late in zip(first, second, strict=True))


def test_events_come_in_event_time() -> None:
    made = [*usages(events()), *metrics(events())]
    in_order = [event.ts for event in events() if isinstance(event, TokenUsage | GpuMetric)]
    assert in_order == sorted(event.ts for event in made)


def test_each_gpu_reports_at_each_interval_until_the_last_request_is_covered() -> None:
    made = events(interval=5)
    first, last = usages(made)[0].ts, usages(made)[-1].ts
    for gpu in load_gpus(BUILT_IN_SEED):
        ticks = [metric.ts for metric in metrics(made) if metric.uuid == gpu.uuid]
        assert ticks[0] == first
        assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(seconds=5)}
        assert last <= ticks[-1] < last + timedelta(seconds=5)


def test_utilization_is_the_share_of_the_interval_that_requests_took(tmp_path: Path) -> None:
    trace = write_trace(tmp_path, "2023-11-16 18:00:00,2000,400", "2023-11-16 18:00:07,1,1")
    busy_ms = estimated_latency_ms(2000, 400)
    assert busy_ms == 1000
    readings = [metric for metric in metrics(events(trace, interval=5)) if metric.name == "RTX 3090"]
    assert [reading.utilization for reading in readings] == [0.0, 0.2, 0.0]
    assert readings[1].power_w > readings[0].power_w
    assert readings[1].mem_used_mb > readings[0].mem_used_mb


def test_one_absurd_row_does_not_make_millions_of_readings(tmp_path: Path) -> None:
    trace = write_trace(tmp_path, "2023-11-16 18:00:00,1,1", "2099-11-16 18:00:00,1,1")
    made = events(trace, repeat=2)
    assert len(metrics(made)) == 16
    (silence,) = [event for event in made if isinstance(event, Silence)]
    assert made[0] == silence
    assert str(silence) == (
        "Between row 1 of the trace, of 2023-11-16T18:00:00Z, and row 2, of 2099-11-16T18:00:00Z, lie "
        "2398377600 seconds without a request"
    )


def test_the_last_requests_before_a_silence_have_their_reading(tmp_path: Path) -> None:
    trace = write_trace(tmp_path, "2023-11-16 18:00:00,2000,400", "2023-11-18 18:00:00,1,1")
    readings = [metric for metric in metrics(events(trace, interval=5)) if metric.name == "RTX 3090"]
    assert [(reading.ts.day, reading.ts.second, reading.utilization) for reading in readings] == [
        (16, 0, 0.0),
        (16, 5, 0.2),
        (18, 0, 0.0),
        (18, 5, 0.0),
    ]


def test_rows_out_of_order_are_sent_in_order_of_time(tmp_path: Path) -> None:
    trace = write_trace(tmp_path, "2023-11-16 18:00:10,1,1", "2023-11-16 18:00:00,2,2")
    sent = usages(events(trace, repeat=2))
    assert [usage.prompt_tokens for usage in sent] == [2, 1, 2, 1]
    assert [(usage.event_id or "").split(":")[1] for usage in sent] == ["2", "1", "2", "1"]


def a_row_a_minute() -> list[str]:
    return [f"2023-11-16 18:{minute:02}:00.0000000,10,10" for minute in range(60)]


def test_one_row_a_day_late_leaves_the_others_their_readings(tmp_path: Path) -> None:
    lines = a_row_a_minute()
    lines[1] = lines[1].replace("16 18", "17 18")
    made = events(write_trace(tmp_path, *lines))
    # 59 minutes of two GPUs, every 5 seconds, and what lies around the late row.
    assert len(metrics(made)) == 2 * (709 + 1 + 2)
    assert [event for event in made if isinstance(event, Silence)] == made[:1]


def test_the_newest_first_are_covered_as_the_oldest_first(tmp_path: Path) -> None:
    in_order = events(write_trace(tmp_path, *a_row_a_minute()))
    reversed_ = events(write_trace(tmp_path, *reversed(a_row_a_minute())))
    assert len(usages(reversed_)) == 60

    def moments(of: list[object]) -> list[tuple[datetime, str | None]]:
        return [(metric.ts, metric.uuid) for metric in metrics(of)]

    assert moments(reversed_) == moments(in_order)


def test_ids_differ_where_events_do() -> None:
    plan = planned()
    gpus = list(plan.gpus)
    dearer = [msgspec.structs.replace(gpu, price_per_hour_usd=9) for gpu in gpus]
    others = [msgspec.structs.replace(gpu, uuid=f"{gpu.uuid}x") for gpu in gpus]
    changes: list[dict[str, Any]] = [
        {"model": "two"},
        {"host": "h2"},
        {"gpus": others},
        {"gpus": gpus[::-1]},
        {"gpus": dearer},
        {"metrics_interval_seconds": 7},
        {"teams": ("search", "support")},
        {"teams": ("support", "search")},
    ]
    known: dict[str | None, bytes] = {}
    for change in [{}, {}, *changes]:
        for event in replay_events(replace(plan, **change)):
            if isinstance(event, TokenUsage | GpuMetric):
                assert known.setdefault(event.event_id, encode(event)) == encode(event)
    # What a change does not change is the same event: the usage, where only prices or the interval differ.
    assert sum(id_.count(":") == 1 for id_ in known if id_) == 7 * 200


def test_ids_of_the_trace_of_2023_stay() -> None:
    """What an earlier version has stored must not count twice: the events' bytes as they have always been."""
    plan = replace(planned(repeat=2), model=None, host="h", teams=("a", "b"))
    content = hashlib.sha256()
    for event in replay_events(plan):
        assert isinstance(event, TokenUsage | GpuMetric)
        content.update(encode(event))
    assert content.hexdigest() == "f189ca7cd49e6aff497bfbc02565f5ec718836e71b7d96b77b24cddddd46fffc"


def test_a_broken_row_is_reported_once_and_leaves_the_others_their_ids(tmp_path: Path) -> None:
    trace = write_trace(tmp_path, "2023-11-16 18:00:00,1,1", "broken", "2023-11-16 18:00:01,2,2")
    made = events(trace, repeat=2)
    assert [event.line for event in made if isinstance(event, BrokenRow)] == [3]
    rows = [(usage.event_id or "").split(":")[1] for usage in usages(made)]
    assert rows == ["1", "3", "1", "3"]


def test_the_generator_draws_the_same_values_for_the_same_seed() -> None:
    def drawn(seed: int, run: str) -> list[tuple[GpuMetric, TokenUsage]]:
        gpus = load_gpus(BUILT_IN_SEED)
        return list(islice(pairs(gpus, seed=seed, run=run, host="h", model="m", now=lambda: NOW), 50))

    assert drawn(1, "a") == drawn(1, "a")
    values = [(usage.prompt_tokens, metric.utilization) for metric, usage in drawn(1, "a")]
    assert values == [(usage.prompt_tokens, metric.utilization) for metric, usage in drawn(1, "b")]
    assert values != [(usage.prompt_tokens, metric.utilization) for metric, usage in drawn(2, "a")]
    ids = {event.event_id for run in "ab" for pair in drawn(1, run) for event in pair}
    assert len(ids) == 200


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m2"},
        {"host": "h2"},
        {"seed": 2},
        {"now": lambda: NOW + timedelta(seconds=1)},
        {"gpus": 1},
        {"teams": ("search", "support")},
    ],
)
def test_two_runs_of_one_name_have_no_id_in_common(change: dict[str, Any]) -> None:
    def ids(**changes: Any) -> set[str | None]:
        gpus = load_gpus(BUILT_IN_SEED)[changes.pop("gpus", 0) :]
        as_ever = {"seed": 1, "run": "r", "host": "h", "model": "m", "now": lambda: NOW}
        made = islice(pairs(gpus, **(as_ever | changes)), 10)
        return {event.event_id for pair in made for event in pair}

    assert ids() == ids()
    assert not ids() & ids(**change)


def test_teams_take_turns_on_every_gpu() -> None:
    turns = [("search", 0), ("search", 1), ("support", 0), ("support", 1), ("search", 0), ("search", 1)]
    gpus = load_gpus(BUILT_IN_SEED)
    places = {gpu.uuid: place for place, gpu in enumerate(gpus)}
    teams = ("search", "support")
    generated = pairs(gpus, seed=1, run="r", host="h", model="m", teams=teams, now=lambda: NOW)
    replayed = usages(list(replay_events(replace(planned(), teams=teams))))
    for sent in ([usage for _, usage in islice(generated, 6)], replayed[:6]):
        assert [(usage.team, places[usage.gpu_uuid or ""]) for usage in sent] == turns


def test_without_teams_events_are_as_before_there_were_any() -> None:
    """Their ids too: a trace that is stored counts once when it is sent again."""
    generated = pairs(load_gpus(BUILT_IN_SEED), seed=1, run="r", host="h", model="m", now=lambda: NOW)
    sent = [event for event in events() if isinstance(event, TokenUsage | GpuMetric)]
    sent += [event for pair in islice(generated, 50) for event in pair]
    assert hashlib.sha256(b"".join(map(encode, sent))).hexdigest()[:16] == "d8394280ddba9359"


def test_generated_pairs_keep_the_contract_and_belong_together() -> None:
    gpus = load_gpus(BUILT_IN_SEED)
    made = islice(pairs(gpus, seed=3, run="r", host="h", model="m", now=lambda: NOW), 100)
    for metric, usage in made:
        assert decode_gpu_metric(encode(metric)) == metric
        assert decode_token_usage(encode(usage)) == usage
        assert (metric.uuid, metric.gpu_index, metric.host) == (
            usage.gpu_uuid,
            usage.gpu_index,
            usage.host,
        )
