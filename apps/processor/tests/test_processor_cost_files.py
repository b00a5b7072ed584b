"""The answer is the same, however the events lie in the files."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from gpu_token_contracts import decode_token_usage
from gpu_token_processor.ledger import offline
from gpu_token_processor.ledger.beside import ProcessLostError, beside
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.coverage import OutOfOrderError
from gpu_token_processor.ledger.offline import BadLineError, Source, answer
from gpu_token_processor.ledger.question import Question
from gpu_token_processor.ledger.usage import Usage

Event = dict[str, Any]
# More than is looked at of a file to tell what it holds.
SECONDS = 1_200


def at(seconds: float) -> str:
    return f"2026-01-01T12:{int(seconds) // 60:02}:{seconds % 60:09.6f}Z"


def readings() -> list[Event]:
    rng = random.Random(1)
    return [
        {"ts": at(second), "event_id": f"r-{uuid}-{second}", "uuid": uuid, "utilization": rng.random()}
        for second in range(SECONDS)
        for uuid in ("GPU-a", "GPU-b")
        if rng.random() < 0.9
    ]


def usage() -> list[Event]:
    rng = random.Random(2)
    return [
        {
            "ts": at(second + rng.random() / 2),
            "event_id": f"u-{second}",
            "model": "m",
            "team": rng.choice(["red", "blue"]),
            "prompt_tokens": rng.randrange(1_000),
            "completion_tokens": rng.randrange(100),
            "gpu_uuid": rng.choice(["GPU-a", "GPU-b", "GPU-c"]),
        }
        for second in range(SECONDS)
    ]


def lines(events: Iterable[Event]) -> list[bytes]:
    return [json.dumps(event).encode() + b"\n" for event in events]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Any]:
    """The answer about files of these lines."""

    def ask(*files: list[bytes]) -> Any:
        sources = []
        for number, content in enumerate(files):
            sources.append(Source(f"file {number}", tmp_path / str(number)))
            sources[-1].path.write_bytes(b"".join(content))
        question = Question(start_us=None, end_us=None, gap_us=2_000_000, group_by=("team", "gpu"))
        return answer(sources, Book(Catalog(), Fraction(2)), question)

    return ask


@pytest.fixture
def expected(ask: Callable[..., Any]) -> Any:
    return ask(lines(readings()), lines(usage()))


def in_time(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: str(event["ts"]))


def test_what_is_counted(expected: Any) -> None:
    assert expected.total.tokens.total == sum(
        event["prompt_tokens"] + event["completion_tokens"] for event in usage()
    )
    assert expected.total.tokens.unpriced > 0
    assert sum(gpu.readings for gpu in expected.gpus) == len(readings())


@pytest.mark.parametrize(
    "arranged",
    [
        lambda r, u: [u, r],
        lambda r, u: [in_time(r + u)],
        lambda r, u: [r + u],
        lambda r, u: [r[:1_000] + u + r[1_000:]],
        lambda r, u: [u[:600] + r + u[600:]],
        lambda r, u: [r[1_000:], u[500:], r[:1_000], u[:500]],
        lambda r, u: [r[::-1], u],
        lambda r, u: [r, u[::-1]],
        lambda r, u: [r, u, u[:100]],
    ],
    ids=[
        "usage first",
        "mixed",
        "one after the other",
        "usage amid readings",
        "readings amid usage",
        "parts",
        "readings backwards",
        "usage backwards",
        "usage twice",
    ],
)
def test_however_the_events_lie(
    arranged: Callable[[list[Event], list[Event]], list[list[Event]]], ask: Callable[..., Any], expected: Any
) -> None:
    assert ask(*map(lines, arranged(readings(), usage()))) == expected


def test_two_processes_find_what_one_finds(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Any], expected: Any
) -> None:
    monkeypatch.setattr(offline, "_WORTH_A_PROCESS_BYTES", 0)
    assert ask(lines(readings()), lines(usage())) == expected
    assert ask(lines(in_time(readings() + usage()))) == expected
    assert ask(lines(readings()[::-1]), lines(usage())) == expected


def test_blank_lines_count_for_nothing(ask: Callable[..., Any], expected: Any) -> None:
    assert ask([b"\n", *lines(readings()), b" \r\n"], [*lines(usage()), b"\n"]) == expected


def test_fields_of_later_versions_count_for_nothing(ask: Callable[..., Any], expected: Any) -> None:
    later = {"measured_with": {"prompt_tokens": 1}}
    assert ask(lines(event | later for event in readings()), lines(usage())) == expected
    assert ask(lines(readings()), lines(event | later for event in usage())) == expected


def test_a_line_amid_others_is_what_it_is(ask: Callable[..., Any], expected: Any) -> None:
    named = [event | {"name": "prompt_tokens"} for event in readings()]
    assert [row.tokens for row in ask(lines(named), lines(usage())).rows] == [
        row.tokens for row in expected.rows
    ]
    written = [line.replace(b'"prompt_tokens"', b'"prompt\\u005ftokens"') for line in lines(usage())]
    assert ask(lines(readings()), written) == expected


def test_the_first_bad_line_is_named(ask: Callable[..., Any]) -> None:
    bad = [*lines(usage()), b'{"ts": 1}\n', b"{\n"]
    with pytest.raises(BadLineError, match=rf"^file 1, line {SECONDS + 1}: "):
        ask(lines(readings()), bad)


def test_events_after_a_run_are_held_against_its_last() -> None:
    book = Book(Catalog(), Fraction(2))
    run = [decode_token_usage(line) for line in lines(usage()[:10])]
    again = Usage(book, None, None)
    again.take([*run, run[-1]])
    assert again.duplicates == 1
    with pytest.raises(OutOfOrderError):
        Usage(book, None, None).take([*run, run[-1], run[-2]])


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_bytes(b"".join(lines(in_time(readings() + usage()))))
    command = [str(Path(sys.executable).with_name("gpu-token-cost")), "--format", "json"]
    with subprocess.Popen([*command, str(pipe)], stdout=subprocess.PIPE) as reader:
        pipe.write_bytes(file.read_bytes())
        assert reader.stdout is not None
        assert reader.stdout.read() == subprocess.check_output([*command, str(file)])


def test_work_beside_returns_and_raises() -> None:
    with beside(max, [1, 3, 2]) as found:
        assert found() == 3
    with beside(max, []) as found, pytest.raises(ValueError, match="empty"):
        found()


def test_work_beside_ends_with_the_block() -> None:
    started = time.monotonic()
    with beside(time.sleep, 60):
        pass
    assert time.monotonic() - started < 30


def test_a_lost_process_is_told() -> None:
    with (
        beside(signal.raise_signal, signal.SIGKILL) as found,
        pytest.raises(ProcessLostError, match="memory"),
    ):
        found()
