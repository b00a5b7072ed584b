"""Each public trace: what it is known by, what its rows become, and what is skipped."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gpu_token_contracts import GpuMetric, TokenUsage, decode_gpu_metric, decode_token_usage, encode
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.replay import ReplayPlan, replay_events
from gpu_token_producers.traces.mooncake import Blocks
from gpu_token_producers.traces.rows import BrokenRow, TraceRow
from gpu_token_producers.traces.trace import DEFAULT_START, Trace, open_trace
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).parent / "data"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
BURSTGPT_3 = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
SESSION = "0a000000-0000-4000-8000-000000000001"
WRITTEN = sorted(path.name for path in DATA.glob("*-written.*"))


def plan(trace: Trace, **changes: Any) -> ReplayPlan:
    planned = ReplayPlan(
        trace=trace, model=None, host="h", gpus=load_gpus(BUILT_IN_SEED), metrics_interval_seconds=60
    )
    return replace(planned, **changes)


def events(trace: Trace, **changes: Any) -> list[TokenUsage | GpuMetric]:
    made = replay_events(plan(trace, **changes))
    return [event for event in made if isinstance(event, TokenUsage | GpuMetric)]


def usages(of: Iterable[object]) -> list[TokenUsage]:
    return [event for event in of if isinstance(event, TokenUsage)]


def write(tmp_path: Path, *lines: str | bytes, name: str = "trace") -> Trace:
    path = tmp_path / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return open_trace(path)


def after(seconds: float) -> datetime:
    return DEFAULT_START + timedelta(seconds=seconds)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


CHAT, API = "Conversation log", "API log"
ROWS = {
    "azure-llm-2024-written.csv": [
        TraceRow(1, at("2024-05-10 00:00:00.009930"), 2162, 5),
        TraceRow(2, at("2024-05-10 00:00:00.017335"), 2399, 6),
        TraceRow(3, at("2024-05-10 00:00:01"), 76, 15),
        TraceRow(4, at("2024-05-10 00:00:01.000001"), 2376, 2),
    ],
    "azure-lmm-2025-written.csv": [
        TraceRow(1, at("2024-10-15 12:00:00.100"), 1211, 83),
        TraceRow(2, at("2024-10-15 12:00:00.250"), 2846, 107),
        TraceRow(3, at("2024-10-15 12:00:02"), 955, 9),
    ],
    "burstgpt-1-written.csv": [
        TraceRow(1, after(5), 400, 20, model="ChatGPT", workload=CHAT),
        TraceRow(2, after(45), 1000, 200, model="GPT-4", workload=CHAT),
        BrokenRow(4, "Response tokens is 0: the request failed."),
        TraceRow(4, after(120), 310, 30, model="ChatGPT", workload=API),
    ],
    "burstgpt-3-written.csv": [
        TraceRow(
            1,
            after(19440110),
            40,
            20,
            latency_ms=12_500,
            model="ChatGPT",
            session=SESSION,
            workload=CHAT,
        ),
        TraceRow(2, after(19440111.5), 1000, 200, latency_ms=750, model="GPT-4", workload=API),
        TraceRow(3, after(19440112), 10, 2, model="ChatGPT", workload=API),
        TraceRow(4, after(19440113), 90, 25, latency_ms=7000, model="GPT-4", session=SESSION, workload=CHAT),
    ],
    "mooncake-written.jsonl": [
        TraceRow(1, after(0), 1100, 500, 0),
        TraceRow(2, after(0), 1200, 490, 1024),
        TraceRow(3, after(3), 900, 79, 512),
        TraceRow(4, after(5.999), 1100, 3, 1100),
        TraceRow(5, after(5.999), 600, 31, 0),
    ],
    "copilot-2026-written.jsonl": [
        TraceRow(1, at("2026-06-01 09:00:00.123456"), 20000, 120, 0, 4200.5, "Model A", "s-one"),
        TraceRow(2, at("2026-06-01 09:00:10"), 21000, 30, 19968, 900.0, "Model B", "s-one"),
        BrokenRow(1, "In turn 2: a call has no count of its tokens."),
        TraceRow(4, at("2026-06-01 09:00:04.500"), 5000, 50, 4096, 1500.0, "Model A", "s-two"),
    ],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_each_format_is_read_as_documented(name: str, tmp_path: Path) -> None:
    """Known by its first line, whatever the file is called."""
    path = tmp_path / "unnamed"
    path.write_bytes((DATA / name).read_bytes())
    assert list(open_trace(path).rows()) == ROWS[name]


@pytest.mark.parametrize("name", WRITTEN)
def test_every_event_keeps_the_contract_and_has_an_id_of_its_own(name: str) -> None:
    made = events(open_trace(DATA / name), repeat=2)
    for event in made:
        decode = decode_token_usage if isinstance(event, TokenUsage) else decode_gpu_metric
        assert decode(encode(event)) == event
    assert len({event.event_id for event in made}) == len(made)
    sound = [row for row in ROWS[name] if isinstance(row, TraceRow)]
    assert len(usages(made)) == 2 * len(sound)
    times = [event.ts for event in events(open_trace(DATA / name))]
    assert times == sorted(times)


def test_what_a_row_tells_is_in_its_event() -> None:
    by_row = {
        (event.event_id or "").split(":")[1]: event
        for event in usages(events(open_trace(DATA / "copilot-2026-written.jsonl")))
    }
    assert list(by_row) == ["1", "4", "2"]
    event = by_row["2"]
    assert (event.model, event.cached_prompt_tokens, event.latency_ms) == ("Model B", 19968, 900.0)
    assert event.tags == {"session": "s-one"}
    (talk, *_) = usages(events(open_trace(DATA / "burstgpt-3-written.csv")))
    assert (talk.model, talk.workload, talk.tags, talk.latency_ms) == (
        "ChatGPT",
        CHAT,
        {"session": SESSION},
        12_500,
    )


def test_a_given_model_is_that_of_all_rows() -> None:
    trace = open_trace(DATA / "burstgpt-1-written.csv")
    own, given_ = usages(events(trace)), usages(events(trace, model="chat"))
    assert {event.model for event in own} == {"ChatGPT", "GPT-4"}
    assert {event.model for event in given_} == {"chat"}
    assert {event.event_id for event in own}.isdisjoint(event.event_id for event in given_)


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("m.csv", "m"),
        ("m.jsonl.gz", "m"),
        ("m.x.csv.zst", "m.x"),
        ("m.zst", "m"),
        ("m.x.csv", "m.x"),
        ("m", "m"),
    ],
)
def test_the_model_of_a_trace_without_one_is_its_name(file: str, model: str, tmp_path: Path) -> None:
    trace = write(tmp_path, AZURE, "2024-05-10 00:00:00,1,1", name=file)
    assert [event.model for event in usages(events(trace))] == [model]


@pytest.mark.parametrize("name", ["burstgpt-1-written.csv", "mooncake-written.jsonl"])
def test_times_that_count_from_0_begin_at_the_start(name: str) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    usual, shifted = (events(open_trace(DATA / name, begin)) for begin in (None, start))
    assert [event.ts - start for event in shifted] == [event.ts - DEFAULT_START for event in usual]
    assert {event.event_id for event in usual}.isdisjoint(event.event_id for event in shifted)
    assert events(open_trace(DATA / name, DEFAULT_START)) == usual


def test_two_starts_do_not_give_one_id_two_contents() -> None:
    known: dict[str | None, bytes] = {}
    for seconds in (0, 60, 120):
        start = DEFAULT_START + timedelta(seconds=seconds)
        for event in events(open_trace(DATA / "burstgpt-1-written.csv", start)):
            assert known.setdefault(event.event_id, encode(event)) == encode(event)


def test_a_start_for_a_trace_with_times_is_refused() -> None:
    with pytest.raises(
        ProducerError, match=r"^--start is for traces whose times count from 0; .* has times of"
    ):
        open_trace(DATA / "azure-llm-2024-written.csv", DEFAULT_START)


@pytest.mark.parametrize(
    ("first_line", "found"),
    [
        ("", "its first line is empty."),
        ("a,b,c", "its first line is a,b,c."),
        ("TIMESTAMP,ContextTokens", "its first line is TIMESTAMP,ContextTokens."),
        (f"{BURSTGPT},Extra", f"its first line is {BURSTGPT},Extra."),
        (f"{BURSTGPT},Session ID", f"its first line is {BURSTGPT},Session ID."),
        ("x" * 1000, f"its first line is {'x' * 200}…."),
        (b"\x00\x1b[31m\xff", "its first line is ��[31m�."),
        ('{"a": 1, "b": [{}]}', "its first line has the keys a, b."),
        ("{}", "its first line has no keys."),
        ("{", "its first line is no JSON object: Input data was truncated."),
        ('{"timestamp": 1}', "its first line has the keys timestamp."),
    ],
)
def test_another_file_is_refused_with_what_it_is_and_what_is_read(
    first_line: str | bytes, found: str, tmp_path: Path
) -> None:
    with pytest.raises(ProducerError) as refused:
        write(tmp_path, first_line, "1,2,3")
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'trace'} is no trace that can be read: {found}")
    for shape in (AZURE, "NumImages", BURSTGPT, "hash_ids", "session_id", "gzip or zstd"):
        assert shape in said
    assert "\n" not in said


def test_columns_of_burstgpt_are_known_by_name(tmp_path: Path) -> None:
    names = BURSTGPT_3.split(",")[::-1]
    trace = write(tmp_path, ",".join(names), "API log,3,2,1,GPT-4,0.5,,60")
    assert list(trace.rows()) == [TraceRow(1, after(60), 1, 2, None, 500.0, "GPT-4", None, "API log")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5,GPT-4,1,2,3", "It has 5 columns instead of 6."),
        ("-5,GPT-4,1,2,3,API log", "Timestamp is '-5', not a number of seconds."),
        ("nan,GPT-4,1,2,3,API log", "Timestamp is 'nan', not a number of seconds."),
        ("1e3,GPT-4,1,2,3,API log", "Timestamp is '1e3', not a number of seconds."),
        ("1.2.3,GPT-4,1,2,3,API log", "Timestamp is '1.2.3', not a number of seconds."),
        (".,GPT-4,1,2,3,API log", "Timestamp is '.', not a number of seconds."),
        (
            "99999999999,GPT-4,1,2,3,API log",
            "Timestamp is '99999999999' after 2024-01-01T00:00:00Z, not between",
        ),
        ("99999999999999999999,GPT-4,1,2,3,API log", "Timestamp is '99999999999999999999' after 2024"),
        ("5,,1,2,3,API log", "Model has 0 characters instead of 1 to 256."),
        (f"5,{'m' * 257},1,2,3,API log", "Model has 257 characters instead of 1 to 256."),
        ("5,GPT-4,,2,3,API log", "Request tokens is '', not a whole number"),
        ("5,GPT-4,1,2,3,", "Log Type has 0 characters"),
        ("5,GPT-4,1,0,1,API log", "Response tokens is 0: the request failed."),
        ('5,"GPT-4,1,2,3,API log', "It is not CSV: unexpected end of data."),
        (b"5,\xff,1,2,3,API log", "It is not UTF-8: byte 2 is 0xff."),
    ],
)
def test_a_broken_row_of_burstgpt(line: str | bytes, said: str, tmp_path: Path) -> None:
    good = "5,GPT-4,1,2,3,API log"
    first, broken, last = write(tmp_path, BURSTGPT, good, line, good).rows()
    assert isinstance(broken, BrokenRow)
    assert broken.line == 3
    assert broken.reason.startswith(said)
    assert [row.row for row in (first, last) if isinstance(row, TraceRow)] == [1, 3]


@pytest.mark.parametrize("elapsed", ["-1", "x", "86401", "inf"])
def test_an_elapsed_time_that_is_none(elapsed: str, tmp_path: Path) -> None:
    (broken,) = write(tmp_path, BURSTGPT_3, f"5,,{elapsed},GPT-4,1,2,3,API log").rows()
    assert isinstance(broken, BrokenRow)
    assert broken.reason.startswith(f"Elapsed time is '{elapsed}', ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "It is no request: Input data was truncated."),
        ("[1]", "It is no request: Expected `object`, got `array`."),
        (
            '{"timestamp": 1, "input_length": 5}',
            "It is no request: Object missing required field `output_length`.",
        ),
        (
            '{"timestamp": 1, "input_length": -5, "output_length": 1}',
            "It is no request: Expected `int` >= 0 - at `$.input_length`.",
        ),
        (
            '{"timestamp": 1, "input_length": 100000001, "output_length": 1}',
            "It is no request: Expected `int` <= 100000000 - at `$.input_length`.",
        ),
        (
            '{"timestamp": -1, "input_length": 5, "output_length": 1}',
            "It is no request: Expected `float` >= 0.0 - at `$.timestamp`.",
        ),
        (
            '{"timestamp": 1e300, "input_length": 5, "output_length": 1}',
            "timestamp is '1e+300' after 2024-01-01",
        ),
        (b'{"timestamp": "\xff"}', "It is no request: Expected `float`, got `str` - at `$.timestamp`."),
        ("[" * 10_000, "It is no request: "),
    ],
)
def test_a_broken_line_of_mooncake(line: str | bytes, said: str, tmp_path: Path) -> None:
    good = '{"timestamp": 0, "input_length": 5, "output_length": 1}'
    first, broken, last = write(tmp_path, good, line, "", good).rows()
    assert isinstance(broken, BrokenRow)
    assert broken.line == 2
    assert broken.reason.startswith(said)
    assert [row.row for row in (first, last) if isinstance(row, TraceRow)] == [1, 3]
    assert isinstance(first, TraceRow)
    assert first.cached_prompt_tokens is None


def call(**changes: Any) -> dict[str, Any]:
    counts = {"prompt": 10, "completion": 2, "cached": 4}
    return {"timestamp": "2026-06-01T00:00:00Z", "model": "Model A", "tokens": counts} | changes


def session(*calls: dict[str, Any], name: str = "s", **fields: Any) -> str:
    return msgspec.json.encode({"session_id": name, "turns": [{"llm_calls": calls}]} | fields).decode()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (call(timestamp=None), "In turn 1: a call has no timestamp or no model."),
        (call(model=None), "In turn 1: a call has no timestamp or no model."),
        (call(model=""), "In turn 1: model has 0 characters"),
        (call(tokens=None), "In turn 1: a call has no count of its tokens."),
        (call(tokens={"prompt": 5, "cached": 1}), "In turn 1: a call has no count of its tokens."),
        (call(tokens={"prompt": 5, "completion": -1}), "In turn 1: completion is '-1', not from 0 to"),
        (
            call(tokens={"prompt": 5, "completion": 1, "cached": 6}),
            "In turn 1: cached is 6, more than prompt",
        ),
        (call(timestamp="2026-06-01"), "In turn 1: timestamp is '2026-06-01', not a date and time."),
        (
            call(timestamp="2026-06-01T00:00:00+02:00"),
            "In turn 1: timestamp is '2026-06-01T00:00:00+02:00', which",
        ),
        (call(duration_ms=-1), "In turn 1: duration_ms is '-1.0', no time from 0 to 86400 seconds."),
    ],
)
def test_a_broken_call_leaves_the_others_of_its_session(
    broken: dict[str, Any], said: str, tmp_path: Path
) -> None:
    trace = write(tmp_path, session(call()), session(call(), broken, call()), session(call()))
    rows = list(trace.rows())
    (reason,) = [row for row in rows if isinstance(row, BrokenRow)]
    assert reason.line == 2
    assert reason.reason.startswith(said)
    assert [row.row for row in rows if isinstance(row, TraceRow)] == [1, 2, 4, 5]


def test_a_broken_session_is_one_row_and_an_empty_one_none(tmp_path: Path) -> None:
    lines = [
        session(call()),
        session(),
        session(turns=[{}]),
        '{"session_id": "x", "turns": 5}',
        session(call()),
    ]
    first, broken, last = write(tmp_path, *lines).rows()
    assert broken == BrokenRow(4, "It is no session: Expected `array`, got `int` - at `$.turns`.")
    assert [row.row for row in (first, last) if isinstance(row, TraceRow)] == [1, 3]


@given(
    st.sampled_from(
        [
            BURSTGPT.encode(),
            BURSTGPT_3.encode(),
            b'{"timestamp":0,"input_length":1}',
            b'{"session_id":"","turns":[]}',
        ]
    ),
    st.lists(st.binary(max_size=60)),
)
def test_any_line_is_a_row_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, lines: list[bytes]
) -> None:
    for row in write(tmp_path_factory.mktemp("trace"), first, *lines).rows():
        if isinstance(row, BrokenRow):
            assert row.reason.endswith(".")
            assert "\n" not in row.reason


def prefix_hits(prompts: list[list[int]]) -> list[int]:
    """By the definition: the longest beginning whose blocks earlier prompts had."""
    hits, seen = [], set[int]()
    for ids in prompts:
        hits.append(next((at for at, block in enumerate(ids) if block not in seen), len(ids)))
        seen.update(ids)
    return hits


@given(st.lists(st.lists(st.integers(0, 9), max_size=6)))
def test_cached_blocks_are_those_that_an_earlier_prompt_began_with(prompts: list[list[int]]) -> None:
    blocks = Blocks()
    assert [blocks.hits(ids) for ids in prompts] == prefix_hits(prompts)


def test_the_blocks_used_least_recently_are_forgotten_first() -> None:
    blocks = Blocks(at_most=3)
    assert [blocks.hits(ids) for ids in ([1, 2, 3], [1], [4], [1], [2], [5, 6, 7, 8], [5], [8])] == [
        0, 1, 0, 1, 0, 0, 0, 1,
    ]  # fmt: skip
