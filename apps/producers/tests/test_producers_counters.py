"""From looks to intervals: no token is lost, none counts twice, whatever the engine does in between."""

import math
from collections import Counter as Count
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest
from gpu_token_contracts import TokenUsage, decode_token_usage, encode
from gpu_token_producers.sources.counters import Advance, Interval, Look, Series, advance, look, uncounted
from gpu_token_producers.sources.engines import CACHED, COMPLETION, ENGINES, PREFILL, PROMPT, REQUESTS
from gpu_token_producers.sources.exposition import Sample
from gpu_token_producers.sources.interval_usage import interval_usage
from gpu_token_producers.sources.labels import Labels
from hypothesis import given, settings
from hypothesis import strategies as st

VLLM, SGLANG, TGI = ENGINES["vllm"], ENGINES["sglang"], ENGINES["tgi"]
SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
PROMPTS, COMPLETIONS = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"


def vllm(
    at: float,
    prompt: float,
    completion: float = 0,
    *,
    began: float | None = None,
    process: float | None = None,
    model: str = "m",
    ahead: float = 0,
    engine: str = "0",
    cached: float | None = None,
) -> Look:
    """What a vLLM shows at a time. Times are in seconds after T0; `began` and `process` by its own clock."""
    labels = {"model_name": model, "engine": engine}
    samples = [Sample(PROMPTS, labels, prompt), Sample(COMPLETIONS, labels, completion)]
    if cached is not None:
        samples.append(Sample("vllm:prompt_tokens_cached_total", labels, cached))
    if began is not None:
        samples += [
            Sample(name.replace("_total", "_created"), labels, T0 / SECOND + began)
            for name in (PROMPTS, COMPLETIONS, "vllm:prompt_tokens_cached_total")
        ]
    if process is not None:
        samples.append(Sample("process_start_time_seconds", {}, T0 / SECOND + process))
    return look(VLLM, samples, at_us=T0 + round(at * SECOND), clock_ahead_us=round(ahead * SECOND))


def only(step: Advance) -> Interval:
    (interval,) = step.intervals
    return interval


def prompts(step: Advance) -> int:
    return sum(interval.amounts[PROMPT] for interval in step.intervals)


def shown(name: str, value: float, at: float, engine: str = "sglang", **labels: str) -> Look:
    """One series of an engine that does not say when anything began."""
    return look(
        ENGINES[engine], [Sample(name, {"model_name": "m", **labels}, value)], at_us=T0 + round(at * SECOND)
    )


def test_the_difference_of_two_looks_is_an_interval() -> None:
    step = advance(VLLM, vllm(0, 100, 10), vllm(15, 160, 30))
    assert only(step) == Interval("m", T0, T0 + 15 * SECOND, {PROMPT: 60, COMPLETION: 20, REQUESTS: 0}, 0, "")


def test_an_engine_that_did_nothing_has_no_interval() -> None:
    assert advance(VLLM, vllm(0, 100, began=-50), vllm(15, 100, began=-50)).intervals == []


# Restarts


def test_a_counter_that_began_since_counts_from_zero_though_its_value_is_higher() -> None:
    step = advance(VLLM, vllm(0, 100, began=-500), vllm(15, 400, began=9))
    assert only(step).amounts[PROMPT] == 400
    assert only(step).resets == 1
    # While the engine was away it did nothing.
    assert only(step).from_us == T0 + 9 * SECOND


def test_a_process_that_started_since_counts_from_zero_though_the_value_is_higher() -> None:
    step = advance(VLLM, vllm(0, 100, process=-500), vllm(15, 400, process=8))
    assert (only(step).amounts[PROMPT], only(step).resets) == (400, 1)


def test_without_any_time_a_smaller_value_is_a_restart() -> None:
    step = advance(VLLM, vllm(0, 100), vllm(15, 40))
    assert (only(step).amounts[PROMPT], only(step).resets) == (40, 1)


def test_a_restart_before_any_request_is_said_too() -> None:
    step = advance(VLLM, vllm(0, 100, began=-500), vllm(15, 0, began=10))
    assert (only(step).amounts[PROMPT], only(step).resets) == (0, 1)


def test_a_smaller_value_of_the_same_life_counts_from_its_peak_on() -> None:
    step = advance(VLLM, vllm(0, 100, began=-50), vllm(15, 90, began=-50))
    assert step.intervals == []
    assert "backwards" in step.remarks[0]
    assert prompts(advance(VLLM, step.look, vllm(30, 107, began=-50))) == 7


def test_a_process_start_that_wavers_by_a_second_is_no_restart() -> None:
    # Where a process computes its start from the machine's, each answer may be a little off.
    step = advance(VLLM, vllm(0, 100, process=-500), vllm(15, 130, process=-499))
    assert (only(step).amounts[PROMPT], only(step).resets) == (30, 0)


def test_two_engines_behind_one_address_are_named_and_their_past_is_not_counted() -> None:
    a, b = -5000.0, -4000.0
    seen = [vllm(0, 10**6, began=a), vllm(15, 2 * 10**6, began=b), vllm(30, 10**6 + 50, began=a)]
    first = advance(VLLM, seen[0], seen[1])
    second = advance(VLLM, first.look, seen[2])
    assert first.intervals == second.intervals == []
    assert "another engine answers" in first.remarks[0]


@pytest.mark.parametrize("ahead", [-600, 0, 600])
def test_a_clock_ten_minutes_off_does_not_hide_a_restart_nor_invent_one(ahead: float) -> None:
    def seen(at: float, value: float, began: float) -> Look:
        return vllm(at, value, began=began + ahead, ahead=ahead)

    restarted = only(advance(VLLM, seen(0, 100, -500), seen(15, 40, 10)))
    assert (restarted.amounts[PROMPT], restarted.from_us) == (40, T0 + 10 * SECOND)
    # One that appears, but is older: the first answer was half.
    before = Look(T0, ())
    assert prompts(advance(VLLM, before, seen(15, 40, -1000))) == 0
    assert prompts(advance(VLLM, before, seen(15, 40, 5))) == 40


def test_what_a_prometheus_server_shows_late_is_counted() -> None:
    # It shows a series at the first point of the grid after its own scrape, which comes after the start.
    before = msgspec.structs.replace(vllm(0, 100, began=-900), age_us=300 * SECOND)
    now = msgspec.structs.replace(vllm(15, 40, began=-20), age_us=300 * SECOND)
    assert only(advance(VLLM, before, now)).amounts[PROMPT] == 40


# Series that go, come, and change their names


def test_half_an_answer_loses_nothing() -> None:
    first = vllm(0, 100, 10)
    half = msgspec.structs.replace(
        vllm(15, 150, 0), series=tuple(each for each in vllm(15, 150).series if each.quantity == PROMPT)
    )
    one = advance(VLLM, first, half)
    two = advance(VLLM, one.look, vllm(30, 170, 35))
    assert only(one).amounts == {PROMPT: 50, COMPLETION: 0, REQUESTS: 0}
    assert only(two).amounts == {PROMPT: 20, COMPLETION: 25, REQUESTS: 0}


def test_an_answer_without_series_loses_nothing() -> None:
    one = advance(VLLM, vllm(0, 100, began=-50), Look(T0 + 15 * SECOND, ()))
    assert one.intervals == []
    assert prompts(advance(VLLM, one.look, vllm(30, 120, began=-50))) == 20


def test_a_model_that_was_loaded_meanwhile_counts_from_its_first_token() -> None:
    old = vllm(0, 100, began=-50)
    both = vllm(15, 110, began=-50)
    both = msgspec.structs.replace(both, series=both.series + vllm(15, 7, began=4, model="new").series)
    step = advance(VLLM, old, both)
    assert {each.model: each.amounts[PROMPT] for each in step.intervals} == {"m": 10, "new": 7}


def test_new_labels_of_the_same_series_go_on() -> None:
    for began in (-50, None):
        before, now = vllm(0, 100, 10, began=began), vllm(15, 130, 12, began=began, engine="gpu-a-0")
        assert only(advance(VLLM, before, now)).amounts == {PROMPT: 30, COMPLETION: 2, REQUESTS: 0}


def test_new_labels_of_many_series_go_on_as_a_sum() -> None:
    def seen(at: float, first: float, second: float, prefix: str) -> Look:
        names = [(f"{prefix}b", second), (f"{prefix}a", first)]
        samples = [Sample(PROMPTS, {"model_name": "m", "engine": name}, value) for name, value in names]
        return look(VLLM, samples, at_us=T0 + round(at * SECOND))

    assert only(advance(VLLM, seen(0, 10, 100, ""), seen(15, 12, 105, "x"))).amounts[PROMPT] == 7


def test_a_new_name_of_the_same_model_does_not_count_its_past_again() -> None:
    # labels.model was added to sources.yml.
    for began in (-50, None):
        before = vllm(0, 10**6, began=began)
        now = vllm(15, 10**6 + 8, began=began)
        now = msgspec.structs.replace(
            now, series=tuple(msgspec.structs.replace(each, model="chat") for each in now.series)
        )
        interval = only(advance(VLLM, before, now))
        assert (interval.model, interval.amounts[PROMPT]) == ("chat", 8)


def test_a_counter_that_was_hidden_counts_from_now_on() -> None:
    before = vllm(0, 100, began=-50)
    now = vllm(15, 120, began=-50, cached=10**6)
    step = advance(VLLM, before, now)
    assert only(step).amounts[CACHED] == 0
    assert "older than the last look" in step.remarks[0]
    later = advance(VLLM, step.look, vllm(30, 150, began=-50, cached=10**6 + 12))
    assert only(later).amounts[CACHED] == 12


def test_counters_that_come_with_the_first_request_count_from_zero() -> None:
    before = Look(T0, ())
    now = look(TGI, [Sample("tgi_request_input_length_sum", {}, 40.0)], at_us=T0 + 15 * SECOND, model="m")
    assert only(advance(TGI, before, now)).amounts[PROMPT] == 40


def test_sglang_counts_no_token_both_when_it_is_made_and_when_the_request_ends() -> None:
    made, ended = "sglang:realtime_tokens_total", "sglang:generation_tokens_total"

    def seen(at: float, realtime: float, requests: float | None) -> Look:
        samples = [Sample(made, {"model_name": "m", "mode": "decode", "tp_rank": "0"}, realtime)]
        if requests is not None:
            samples.append(Sample(ended, {"model_name": "m"}, requests))
        return look(SGLANG, samples, at_us=T0 + round(at * SECOND))

    looks = [Look(T0, ()), seen(15, 300, None), seen(30, 700, 250), seen(45, 900, 890), seen(60, 900, 905)]
    looks += [seen(75, 1000, 905), seen(90, 1100, 1112)]
    counted, state = 0, looks[0]
    for each in looks[1:]:
        step = advance(SGLANG, state, each)
        counted += sum(interval.amounts[COMPLETION] for interval in step.intervals)
        state = step.look
    assert counted == 1112


def test_sglang_that_starts_again_counts_its_new_life_once() -> None:
    made, ended = "sglang:realtime_tokens_total", "sglang:generation_tokens_total"
    state = shown(ended, 10**6, 0)
    counted = 0
    for at, name, value in [(15, made, 500.0), (30, made, 650.0)]:
        step = advance(SGLANG, state, shown(name, value, at, mode="decode"))
        counted += sum(interval.amounts[COMPLETION] for interval in step.intervals)
        state = step.look
    assert counted == 650


def test_vllm_that_loses_and_regains_a_better_name_of_cached_tokens_counts_each_once() -> None:
    better, worse = "vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total"

    def seen(at: float, value: float, *names: str) -> Look:
        labels = {"model_name": "m", "engine": "0"}
        samples = [Sample(PROMPTS, labels, 10 * value), *(Sample(name, labels, value) for name in names)]
        return look(VLLM, samples, at_us=T0 + round(at * SECOND))

    looks = [seen(0, 100, better, worse), seen(15, 130, worse), seen(30, 180, better, worse)]
    one = advance(VLLM, looks[0], looks[1])
    two = advance(VLLM, one.look, looks[2])
    assert (only(one).amounts[CACHED], only(two).amounts[CACHED]) == (30, 50)


# Values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e14])
def test_a_value_that_is_no_count_is_not_there(value: float) -> None:
    assert [each.quantity for each in vllm(15, value, 10).series] == [COMPLETION]
    one = advance(VLLM, vllm(0, 100), vllm(15, value, 10))
    assert prompts(advance(VLLM, one.look, vllm(30, 130, 10))) == 30


def test_fractions_add_up() -> None:
    state, counted = vllm(0, 0), 0
    for number in range(1, 50):
        step = advance(VLLM, state, vllm(number, number * 0.7))
        counted, state = counted + prompts(step), step.look
    assert counted == round(49 * 0.7)


def test_seconds_are_kept_to_the_microsecond() -> None:
    name = "vllm:request_prefill_time_seconds_sum"
    before, now = shown(name, 1.25, 0, "vllm"), shown(name, 1.5000014, 15, "vllm")
    assert only(advance(VLLM, before, now)).amounts[PREFILL] == 250_001


def test_cached_tokens_that_come_before_their_prompt_wait_for_it() -> None:
    looks = [vllm(0, 0, cached=0), vllm(15, 0, cached=80), vllm(30, 100, cached=80), vllm(45, 150, cached=90)]
    first = advance(VLLM, looks[0], looks[1])
    assert first.intervals == []
    second = advance(VLLM, first.look, looks[2])
    assert only(second).amounts == {PROMPT: 100, COMPLETION: 0, REQUESTS: 0, CACHED: 80}
    assert only(advance(VLLM, second.look, looks[3])).amounts[CACHED] == 10


def test_a_name_of_a_model_that_is_too_long_is_cut() -> None:
    assert {each.model for each in vllm(0, 1, model="m" * 300).series} == {"m" * 256}


def test_labels_that_look_alike_are_not_mixed_up() -> None:
    samples = [
        Sample(PROMPTS, {"model_name": "m", "a": "1', b='2"}, 5.0),
        Sample(PROMPTS, {"model_name": "m", "a": "1", "b": "2"}, 7.0),
        Sample(PROMPTS, {"model_name": "m", "a": "1,b=2"}, 9.0),
    ]
    assert len({each.labels for each in look(VLLM, samples, at_us=0).series}) == 3


def test_of_ranks_the_lowest_counts_and_data_parallel_engines_are_added_up() -> None:
    samples = [
        Sample("sglang:prompt_tokens_total", {"model_name": "m", "dp_rank": dp, "tp_rank": tp}, float(value))
        for dp, tp, value in [("0", "10", 999), ("0", "2", 100), ("1", "9", 50), ("1", "11", 999)]
    ]
    assert sum(each.value for each in look(SGLANG, samples, at_us=0).series) == 150


def test_a_target_that_goes_on_inventing_labels_does_not_fill_the_memory() -> None:
    state = shown("sglang:prompt_tokens_total", 1, 0, id="0")
    for number in range(1, 3000):
        state = advance(SGLANG, state, shown("sglang:prompt_tokens_total", 1, number, id=str(number))).look
    assert len(state.series) <= 1001


# What becomes of an interval


def event(interval: Interval) -> TokenUsage:
    return decode_token_usage(encode(interval_usage(interval, "gpu-a:8000", Labels(deployment="chat"))))


def test_an_interval_as_an_event() -> None:
    interval = Interval("m", T0, T0 + 15 * SECOND, {PROMPT: 6, COMPLETION: 2, REQUESTS: 1, CACHED: 4}, 1, "x")
    usage = event(interval)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens) == (6, 2, 4)
    assert (usage.requests, usage.interval_seconds, usage.counter_resets) == (1, 15.0, 1)
    assert (usage.deployment, usage.endpoint, usage.measured_by) == ("chat", "http://gpu-a:8000", "engine")
    assert round(usage.ts.timestamp() * SECOND) == T0 + 15 * SECOND


def test_the_contract_takes_even_what_is_too_much() -> None:
    much = {PROMPT: 10**15, COMPLETION: 10**15, REQUESTS: 10**15, CACHED: 10**15, PREFILL: 10**18}
    usage = event(Interval("m", T0, T0 + 10**15, much, 0, ""))
    assert usage.prompt_tokens == usage.cached_prompt_tokens == 10**13
    assert usage.prefill_seconds is None


def test_ids_tell_intervals_lives_models_and_addresses_apart() -> None:
    base = Interval("m", T0, T0 + SECOND, {PROMPT: 1, COMPLETION: 0, REQUESTS: 0}, 0, "1")
    others = [
        base._replace(model="n"),
        base._replace(from_us=T0 + 1),
        base._replace(to_us=T0 + 2),
        base._replace(epoch="2"),
    ]
    ids = {interval_usage(each, "a:1", Labels()).event_id for each in (base, *others)}
    ids.add(interval_usage(base, "a:2", Labels()).event_id)
    assert len(ids) == 6
    assert interval_usage(base, "a:1", Labels()) == interval_usage(base, "a:1", Labels())


# Any sequence of looks


@dataclass
class EngineModel:
    """An engine as it is, of which only some is ever seen."""

    began: float
    totals: Count[str] = field(default_factory=Count)


WORK = st.tuples(
    st.sampled_from(["work", "work", "work", "restart", "hide", "relabel", "hide all"]),
    st.integers(0, 50),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["0", "1"]),
    st.floats(2.5, 100),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORK, min_size=1, max_size=25), st.sampled_from(["created", "process"]), st.booleans())
def test_intervals_add_up_to_what_was_shown_of_each_life(
    plan: list[tuple[str, int, str, str, float]], tells: str, late: bool
) -> None:
    at = 100.0
    engine = EngineModel(began=0)
    looks: list[tuple[Look, float, Count[str]]] = []
    prefix = ""

    def show(hidden: str | None = None, everything: bool = False) -> None:
        samples = []
        seen: Count[str] = Count()
        for key, value in engine.totals.items():
            model, rank = key.split("/")
            # Half an answer: whole series are missing, as they may be while an engine starts.
            if everything or rank == hidden:
                continue
            seen[key] = value
            labels = {"model_name": model, "engine": prefix + rank}
            samples.append(Sample(PROMPTS, labels, float(value)))
            if tells == "created":
                # prometheus_client takes the time of each series.
                number = sorted(engine.totals).index(key)
                began = T0 / SECOND + engine.began + number / 1000
                samples.append(Sample("vllm:prompt_tokens_created", labels, began))
        samples.append(Sample("process_start_time_seconds", {}, T0 / SECOND + engine.began))
        looks.append((look(VLLM, samples, at_us=T0 + round(at * SECOND)), engine.began, seen))

    def start() -> None:
        engine.totals = Count({f"{model}/{rank}": 0 for model in "ab" for rank in "01"})

    start()
    show()
    for what, amount, model, rank, seconds in plan:
        if what == "restart":
            at += 3
            engine.began = at
            start()
            at += 0 if late else 3
        if what == "relabel" and tells == "created":
            prefix += "x"
        at += seconds
        engine.totals[f"{model}/{rank}"] += amount
        show(hidden="1" if what == "hide" else None, everything=what == "hide all")
    state = looks[0][0]
    counted: Count[str] = Count()
    spans: dict[str, list[Interval]] = {}
    for seen, _, _ in looks[1:]:
        step = advance(VLLM, state, seen)
        # A state on disk is as good as one in memory.
        state = msgspec.json.decode(msgspec.json.encode(step.look), type=Look)
        for interval in step.intervals:
            counted[interval.model] += interval.amounts[PROMPT]
            spans.setdefault(interval.model, []).append(interval)
            assert looks[0][0].at_us <= interval.from_us < interval.to_us == seen.at_us
    expected: Count[str] = Count()
    lives: dict[float, Count[str]] = {}
    for _, began, seen in looks:
        life = lives.setdefault(began, Count())
        for key, value in seen.items():
            life[key] = max(life[key], value)
    for life in lives.values():
        for key, value in life.items():
            expected[key.split("/")[0]] += value
    assert +counted == +expected
    for intervals in spans.values():
        assert all(one.to_us <= two.from_us for one, two in pairwise(intervals))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=20))
def test_an_engine_that_tells_no_time_is_counted_wherever_its_value_falls(
    plan: list[tuple[bool, int]],
) -> None:
    value = peak = 1000
    state, counted, expected = shown("sglang:prompt_tokens_total", value, 0), 0, 0
    for number, (restart, amount) in enumerate(plan, start=1):
        # A life that shows at least as much as the one before cannot be told from it.
        value = min(amount, peak - 1) if restart and peak > 1 else value + amount
        expected += value if value < peak else value - peak
        peak = value
        step = advance(SGLANG, state, shown("sglang:prompt_tokens_total", value, number))
        counted, state = counted + prompts(step), step.look
    assert counted == expected


def test_series_are_what_is_kept() -> None:
    assert Series("prompt_tokens", "m", "c", "l", 1) == msgspec.json.decode(
        msgspec.json.encode(Series("prompt_tokens", "m", "c", "l", 1)), type=Series
    )


def test_a_counter_that_comes_later_than_the_others_of_its_life_is_no_second_restart() -> None:
    done = Sample("vllm:request_success_total", {"model_name": "m"}, 3.0)

    def with_requests(seen: Look, began: float) -> Look:
        created = Sample("vllm:request_success_created", {"model_name": "m"}, T0 / SECOND + began)
        return msgspec.structs.replace(
            seen, series=seen.series + look(VLLM, [done, created], at_us=seen.at_us).series
        )

    before = with_requests(vllm(0, 100, began=-500), -400)
    restarted = advance(VLLM, before, vllm(15, 5, began=10))
    later = advance(VLLM, restarted.look, with_requests(vllm(30, 5, began=10), 20))
    assert (only(restarted).resets, only(later).resets) == (1, 0)
    assert only(later).amounts[REQUESTS] == 3


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (math.nan, "NaN"),
        (math.inf, "an infinite value"),
        (-math.inf, "an infinite value"),
        (-1.0, "a negative value"),
        (2.0**60, "more than 1e+13"),
    ],
)
def test_a_value_that_no_counter_can_have_is_named(value: float, named: str) -> None:
    labels = {"model_name": "m"}
    samples = [Sample(PROMPTS, labels, value), Sample(COMPLETIONS, labels, 5)]
    assert uncounted(VLLM, samples) == {f"{PROMPTS} shows {named}, which is not counted"}
    assert [each.quantity for each in look(VLLM, samples, at_us=T0).series] == [COMPLETION]


def test_what_is_not_read_is_not_named() -> None:
    by_source = Sample("vllm:prompt_tokens_by_source_total", {"source": "local_compute"}, math.nan)
    assert uncounted(VLLM, [by_source, Sample("process_start_time_seconds", {}, math.nan)]) == frozenset()
