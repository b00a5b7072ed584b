"""Compressed traces: the same events under the same ids, in order of time, or one sentence."""

import gzip
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.replay import ReplayPlan, replay_events
from gpu_token_producers.traces import compression, order
from gpu_token_producers.traces.order import TimeOrder
from gpu_token_producers.traces.rows import BrokenRow, TraceRow
from gpu_token_producers.traces.trace import Trace, open_trace

DATA = Path(__file__).parent / "data"
FILES = sorted(path.name for path in DATA.iterdir() if path.suffix in (".csv", ".jsonl"))


def frames(content: bytes) -> bytes:
    """Cut in two, each packed by itself, as `cat a.zst b.zst` makes it."""
    return b"".join(zstandard.compress(half) for half in (content[:100], content[100:]))


def members(content: bytes) -> bytes:
    return b"".join(gzip.compress(half) for half in (content[:100], content[100:]))


PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, zstandard.compress, frames, members]


def events(trace: Trace) -> list[object]:
    return list(
        replay_events(
            ReplayPlan(
                trace=trace, model="m", host="h", gpus=load_gpus(BUILT_IN_SEED), metrics_interval_seconds=5
            )
        )
    )


@pytest.mark.parametrize("pack", PACKERS, ids=lambda pack: pack.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_packed_trace_makes_the_events_of_the_plain_one(
    name: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    packed = tmp_path / "no-suffix"
    packed.write_bytes(pack((DATA / name).read_bytes()))
    assert events(open_trace(packed)) == events(open_trace(DATA / name))


@pytest.mark.parametrize("pack", PACKERS, ids=lambda pack: pack.__name__)
@pytest.mark.parametrize("cut", [5, 1])
def test_a_file_that_breaks_off_is_refused(pack: Callable[[bytes], bytes], cut: int, tmp_path: Path) -> None:
    content = pack((DATA / "azure-llm-2023-code-excerpt.csv").read_bytes())
    path = tmp_path / "trace.csv.packed"
    path.write_bytes(content[:-cut])
    with pytest.raises(
        ProducerError, match=r"trace\.csv\.packed is damaged: .*\. Fetch or compress it again\."
    ):
        open_trace(path)


@pytest.mark.parametrize("pack", PACKERS, ids=lambda pack: pack.__name__)
def test_a_damaged_file_is_refused(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = bytearray(pack((DATA / "azure-llm-2023-code-excerpt.csv").read_bytes()))
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(ProducerError, match="is damaged"):
        open_trace(path)


def sessions(seed: int, count: int) -> bytes:
    """Overlapping sessions of several calls, with broken ones among both."""
    draw = random.Random(seed)
    lines = []
    for number in range(count):
        calls = [
            {
                "timestamp": f"2026-06-01T{draw.randrange(24):02}:{draw.randrange(60):02}:00.000000000Z",
                "model": "Model A",
                "duration_ms": draw.randrange(9000),
                "tokens": {"prompt": draw.randrange(1, 9000), "completion": 1, "cached": 0}
                if draw.random() < 0.9
                else None,
                "message_metadata": [{"type": "System", "token_len": 5}],
            }
            for _ in range(draw.randrange(5))
        ]
        lines.append(msgspec.json.encode({"session_id": f"s{number}", "turns": [{"llm_calls": calls}]}))
        if draw.random() < 0.1:
            lines.append(draw.choice([b"", b"{", b'{"session_id": 1}']))
    return b"\n".join(lines)


def shuffled(name: str, seed: int) -> bytes:
    header, *lines = (DATA / name).read_bytes().splitlines()
    random.Random(seed).shuffle(lines)
    return b"\r\n".join([header, *lines])


@pytest.mark.parametrize("pack", [bytes, *PACKERS], ids=lambda pack: pack.__name__)
@pytest.mark.parametrize("run_rows", [1, 7, 100_000])
@pytest.mark.parametrize(
    "content", [sessions(1, 50), shuffled("azure-llm-2023-code-excerpt.csv", 1)], ids=["sessions", "csv"]
)
def test_the_order_is_that_of_a_stable_sort(
    content: bytes,
    run_rows: int,
    pack: Callable[[bytes], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(order, "_RUN_ROWS", run_rows)
    path = tmp_path / "trace"
    path.write_bytes(pack(content))
    trace = open_trace(path)
    read = list(trace.rows())
    sound = [row for row in read if isinstance(row, TraceRow)]
    assert len(sound) > 50
    by_time = TimeOrder(trace)
    assert list(by_time.find()) == [row for row in read if isinstance(row, BrokenRow)]
    for _ in range(2):
        assert list(by_time.rows()) == sorted(sound, key=lambda row: row.ts)


def test_cached_blocks_follow_the_order_of_time_in_every_reading(tmp_path: Path) -> None:
    lines = (DATA / "mooncake-written.jsonl").read_bytes().splitlines()
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(b"\n".join(lines[::-1])))
    by_time = TimeOrder(open_trace(path))
    assert list(by_time.find()) == []
    for _ in range(2):
        rows = list(by_time.rows())
        assert [(row.row, row.cached_prompt_tokens) for row in rows] == [
            (4, 0),
            (5, 1024),
            (3, 512),
            (1, 0),
            (2, 1100),
        ]


def test_a_packed_trace_in_order_needs_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(zstandard.compress((DATA / "azure-llm-2023-code-excerpt.csv").read_bytes()))
    trace = open_trace(path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    by_time = TimeOrder(trace)
    assert list(by_time.find()) == []
    assert len(list(by_time.rows())) == 200


def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/missing")


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: PTH123, SIM115


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("happens", [no_folder, full_disk])
def test_no_room_to_sort_is_one_sentence(
    happens: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(shuffled("azure-llm-2023-code-excerpt.csv", 1) * 5))
    by_time = TimeOrder(open_trace(path))
    happens(monkeypatch)
    with pytest.raises(ProducerError, match=r"^The trace's rows are not in order of time, .* by TMPDIR\.$"):
        list(by_time.find())


def test_a_long_reading_tells_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_PRINT_SECONDS", 0)
    trace = open_trace(DATA / "azure-llm-2023-code-excerpt.csv")
    list(trace.rows("sorting its rows"))
    said = capsys.readouterr().err.splitlines()
    assert "azure-llm-2023-code-excerpt.csv: reading its content, 100%" in said
    assert said[-1] == "azure-llm-2023-code-excerpt.csv: sorting its rows, 100%"
    list(trace.rows())
    assert capsys.readouterr().err == ""
