"""Traces: the real ones to the last token, and every kind of broken row."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gpu_token_contracts import bounds
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.synthetic import synthetic_trace
from gpu_token_producers.traces.azure import parse_row
from gpu_token_producers.traces.rows import MAX_REQUEST_TOKENS, BrokenRow, TraceRow
from gpu_token_producers.traces.trace import open_trace
from hypothesis import given
from hypothesis import strategies as st

HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens"
EXCERPT = Path(__file__).parent / "data" / "azure-llm-2023-code-excerpt.csv"
# Rows, context tokens, generated tokens, first and last time.
KNOWN = {
    "azure-llm-2023-code-excerpt.csv": (
        200,
        414_215,
        4_907,
        datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC),
        datetime(2023, 11, 16, 18, 20, 23, 69545, tzinfo=UTC),
    ),
    "azure-llm-2023-code.csv": (
        8_819,
        18_059_974,
        245_896,
        datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC),
        datetime(2023, 11, 16, 19, 14, 19, 928016, tzinfo=UTC),
    ),
    "azure-llm-2023-conv.csv": (
        19_366,
        22_361_870,
        4_088_665,
        datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC),
        datetime(2023, 11, 16, 19, 14, 8, 402527, tzinfo=UTC),
    ),
}


def traces_at_hand() -> list[Path]:
    """The excerpt, and whole traces if there are any: TRACE, or shared data next to the clone."""
    shared = Path(__file__).parents[3].parent / "shared" / "data"
    candidates = [EXCERPT, *(shared / name for name in KNOWN)]
    if trace := os.environ.get("TRACE"):
        candidates.append(Path(trace))
    return [path for path in candidates if path.is_file() and path.name in KNOWN]


def rows(content: bytes, tmp_path: Path) -> list[TraceRow | BrokenRow]:
    trace = tmp_path / "trace.csv"
    trace.write_bytes(content)
    return list(open_trace(trace).rows())


def sound(row: TraceRow | BrokenRow) -> TraceRow:
    assert isinstance(row, TraceRow), row
    return row


@pytest.mark.parametrize("path", traces_at_hand(), ids=lambda path: path.name)
def test_a_real_trace_has_its_known_totals(path: Path) -> None:
    read = [sound(row) for row in open_trace(path).rows()]
    assert (
        len(read),
        sum(row.prompt_tokens for row in read),
        sum(row.completion_tokens for row in read),
        read[0].ts,
        read[-1].ts,
    ) == KNOWN[path.name]
    assert [row.row for row in read] == list(range(1, len(read) + 1))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_line_ends_final_newline_and_byte_order_mark(
    end: bytes, final: bool, start: bytes, tmp_path: Path
) -> None:
    lines = [HEADER, b"2023-11-16 18:17:03.9799600,1,2", b"2023-11-16 18:17:04.0319600,3,4"]
    read = rows(start + end.join(lines) + (end if final else b""), tmp_path)
    assert read == [
        TraceRow(1, datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC), 1, 2),
        TraceRow(2, datetime(2023, 11, 16, 18, 17, 4, 31960, tzinfo=UTC), 3, 4),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"2023-11-16 18:17:03.9799600,1", "2 columns"),
        (b"2023-11-16 18:17:03.9799600,1,2,3", "4 columns"),
        (b"2023-11-16 18:17:03.9799600,,2", "ContextTokens"),
        (b"2023-11-16 18:17:03.9799600,-1,2", "ContextTokens"),
        (b"2023-11-16 18:17:03.9799600,1.0,2", "ContextTokens"),
        (b"2023-11-16 18:17:03.9799600,1_0,2", "ContextTokens"),
        (b"2023-11-16 18:17:03.9799600,1,NaN", "GeneratedTokens"),
        (b"2023-11-16 18:17:03.9799600,1," + b"9" * 5000, "GeneratedTokens"),
        (b"2023-11-16 18:17:03.9799600,1,100000001", "GeneratedTokens"),
        ("2023-11-16 18:17:03.9799600,1,٣".encode(), "GeneratedTokens"),
        (b"2023-11-16 18:17:03.9799600,1,\xff", "GeneratedTokens"),
        (b"2023-11-16,1,2", "TIMESTAMP"),
        (b"2023-W46-4 18:17:03.97,1,2", "TIMESTAMP"),
        (b"2023-13-16 18:17:03.9799600,1,2", "TIMESTAMP"),
        (b"2023-11-16 25:17:03.9799600,1,2", "TIMESTAMP"),
        (b"1999-11-16 18:17:03.9799600,1,2", "TIMESTAMP"),
        (b"2023-11-16 18:17:03+02:00,1,2", "TIMESTAMP"),
        (b"\xff\xfe,1,2", "TIMESTAMP"),
        (b'"2023-11-16 18:17:03.9799600,1,2', "TIMESTAMP"),
        (b",,", "TIMESTAMP"),
    ],
)
def test_a_broken_row_is_named_by_its_line_and_the_others_are_read(
    line: bytes, said: str, tmp_path: Path
) -> None:
    good = b"2023-11-16 18:17:03.9799600,1,2"
    read = rows(b"\r\n".join([HEADER, good, line, b"", good]), tmp_path)
    first, broken, last = read
    assert isinstance(broken, BrokenRow)
    assert broken.line == 3
    assert said in broken.reason
    assert len(broken.reason) < 200
    assert (sound(first).row, sound(last).row) == (1, 3)


@pytest.mark.parametrize("ts", [b"2023-11-16T18:17:03.9799600", b"2023-11-16 18:17:03.979960+00:00"])
def test_the_shapes_that_other_years_of_the_trace_use(ts: bytes) -> None:
    assert parse_row(1, ts + b",1,2").ts == datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)


@pytest.mark.parametrize(
    "content", [b"", b"a,b,c\n1,2,3\n", b"2023-11-16 18:17:03.9799600,1,2\n", b"\xff\xfe"]
)
def test_a_file_without_the_header_is_no_trace(content: bytes, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_bytes(content)
    with pytest.raises(ProducerError, match="is no trace"):
        open_trace(trace)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProducerError, match=r"missing\.csv cannot be read: No such file"):
        open_trace(tmp_path / "missing.csv")


def test_the_id_follows_the_content_alone(tmp_path: Path) -> None:
    copy = tmp_path / "other-name.csv"
    copy.write_bytes(EXCERPT.read_bytes())
    assert open_trace(copy).id == open_trace(EXCERPT).id
    copy.write_bytes(EXCERPT.read_bytes() + b"\r\n")
    assert open_trace(copy).id != open_trace(EXCERPT).id


MOMENT = st.datetimes(
    bounds.EARLIEST_TS.replace(tzinfo=None), bounds.LATEST_TS.replace(tzinfo=None) - timedelta(seconds=1)
)
COUNT = st.integers(0, MAX_REQUEST_TOKENS)


@given(MOMENT, COUNT, COUNT)
def test_what_is_written_as_a_row_is_read_as_it_was(moment: datetime, prompt: int, completion: int) -> None:
    line = f"{moment:%Y-%m-%d %H:%M:%S.%f}0,{prompt},{completion}".encode()
    assert parse_row(1, line) == TraceRow(1, moment.replace(tzinfo=UTC), prompt, completion)


@given(st.binary(max_size=60))
def test_any_line_is_a_row_or_a_sentence(line: bytes) -> None:
    try:
        row = parse_row(1, line)
    except ValueError as error:
        said = str(error)
        row = None
    if row is None:
        assert said.endswith(".")
        assert "\n" not in said
    else:
        assert row.ts.tzinfo is not None
        assert 0 <= row.prompt_tokens <= MAX_REQUEST_TOKENS


@given(st.lists(st.binary(max_size=40).filter(lambda line: line.strip(b"\r\n") and b"\n" not in line)))
def test_every_line_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    content = b"\n".join([HEADER, *lines])
    assert len(rows(content, tmp_path_factory.mktemp("trace"))) == len(lines)


def test_a_synthetic_trace_is_the_same_for_the_same_seed() -> None:
    assert synthetic_trace(100, seed=1) == synthetic_trace(100, seed=1)
    assert synthetic_trace(100, seed=1).content != synthetic_trace(100, seed=2).content


def test_a_synthetic_trace_has_the_shape_and_the_scale_of_the_public_one(tmp_path: Path) -> None:
    made = synthetic_trace(8_819, seed=1)
    read = [sound(row) for row in rows(made.content, tmp_path)]
    assert made.content.startswith(HEADER + b"\r\n2023-11-16 18:17:03.9799600,")
    assert not made.content.endswith(b"\n")
    assert [row.ts for row in read] == sorted(row.ts for row in read)
    assert len(read) == made.rows == 8_819
    assert sum(row.prompt_tokens for row in read) == made.prompt_tokens
    assert sum(row.completion_tokens for row in read) == made.completion_tokens
    assert 0.8 < made.prompt_tokens / 18_059_974 < 1.2
    assert 0.8 < made.completion_tokens / 245_896 < 1.2
    assert timedelta(minutes=50) < read[-1].ts - read[0].ts < timedelta(minutes=65)
