"""`gpu-token-cost` as people call it."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gpu_token_processor.ledger.command import app, main
from typer.testing import CliRunner, Result

COMMAND = Path(sys.executable).with_name("gpu-token-cost")
READING = {"ts": "2026-01-01T12:00:00Z", "uuid": "GPU-a", "price_per_hour_usd": 3.6}
USAGE = {
    "ts": "2026-01-01T12:00:01Z",
    "model": "m",
    "team": "red",
    "prompt_tokens": 60,
    "completion_tokens": 40,
    "gpu_uuid": "GPU-a",
}
RANGE = ["--start", "2026-01-01T12:00:00Z", "--end", "2026-01-01T12:00:10Z"]


def lines(*events: Any) -> str:
    return "".join((event if isinstance(event, str) else json.dumps(event)) + "\n" for event in events)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text(lines(READING, "", USAGE))
    return path


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def script(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "check": False, **options},
    )


def is_one_sentence(said: str | bytes) -> bool:
    text = said if isinstance(said, str) else said.decode()
    return len(text.splitlines()) == 1 and text.endswith(".\n")


@pytest.mark.parametrize("module", ["ledger.command", "ledger.catalog_command", "rollups.command"])
def test_a_command_does_not_wait_for_what_serves_the_api(module: str) -> None:
    told = f"import sys, gpu_token_processor.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert {"fastapi", "uvicorn"}.isdisjoint(done.stdout.split())


def test_the_script_is_installed_and_reads_a_pipe() -> None:
    done = subprocess.run(
        [COMMAND, "-", *RANGE, "--format", "json"],
        input=lines(READING, USAGE),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["total"]["cost_usd"] == 0.01


def test_table(events: Path) -> None:
    done = run(events, *RANGE, "--group-by", "team,model")
    assert done.exit_code == 0
    assert "red" in done.stdout
    assert "0.010000" in done.stdout


def test_csv_adds_up(events: Path) -> None:
    events.write_text(lines(READING, READING | {"uuid": "GPU-b"}, USAGE))
    rows = list(csv.DictReader(io.StringIO(run(events, *RANGE, "--format", "csv").stdout)))
    assert [row["kind"] for row in rows] == ["used", "fleet_idle"]
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal("0.02")


def test_several_files_in_any_order_are_one(events: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.jsonl"
    later.write_text(lines(READING | {"ts": "2026-01-01T12:00:05Z", "price_per_hour_usd": 7.2}))
    answers = {run(*files, *RANGE, "--format", "json").stdout for files in ((events, later), (later, events))}
    assert len(answers) == 1
    assert json.loads(answers.pop())["total"]["cost_usd"] == 0.015


def test_without_bounds_all_that_the_events_cover_is_taken(events: Path) -> None:
    found = json.loads(run(events, "--format", "json").stdout)
    assert found["window"] == {
        "start": "2026-01-01T12:00:00Z",
        "end": "2026-01-01T12:00:30Z",
        "seconds": 30,
        "chosen_by": "everything",
    }


def test_no_events_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    found = json.loads(run(tmp_path / "none", "--format", "json").stdout)
    assert (found["rows"], found["total"]["cost_usd"], found["reason"]) == ([], 0, "no_events")
    assert run(tmp_path / "none").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--group-by", "colour"], "group_by has 'colour'"),
        (["--start", "yesterday"], "--start is 'yesterday'"),
        (
            ["--start", "2020-01-01T00:00:00Z", "--end", "2026-01-01T00:00:00Z", "--step", "hour"],
            "step is 'hour'",
        ),
        (["--catalog", "/no/such/file.yml"], "/no/such/file.yml"),
        (["/no/such/events"], "/no/such/events cannot be read"),
    ],
)
def test_bad_arguments_get_a_sentence(events: Path, arguments: list[str], sentence: str) -> None:
    done = run(events, *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[]", "Expected `object`"),
        ({**USAGE, "prompt_tokens": -1}, "prompt_tokens is -1"),
        ({**USAGE, "ts": None}, "ts"),
        ({**USAGE, "cached_prompt_tokens": 61}, "cached_prompt_tokens"),
        ({"ts": "2026-01-01T12:00:00Z"}, "uuid"),
        ({"ts": "2026-01-01T12:00:00Z", "uuid": "x", "utilization": 2}, "utilization is 2"),
    ],
)
def test_a_bad_line_is_named(events: Path, line: Any, why: str) -> None:
    events.write_text(lines(READING, USAGE, line))
    done = run(events)
    assert done.exit_code == 2
    assert f"{events}, line 3: " in done.stderr
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_bad_catalogue_is_refused(events: Path, tmp_path: Path) -> None:
    (tmp_path / "catalog.yml").write_text("prices: [{usd_per_hour: 4}]")
    done = run(events, "--catalog", tmp_path / "catalog.yml")
    assert done.exit_code == 2
    assert "selector" in done.stderr
    assert len(done.stderr.splitlines()) == 1


LONG = "x" * 200
ODD = [
    READING,
    READING | {"uuid": "GPU-b"},
    USAGE | {"team": "[/foo]", "model": "[red]grün[/red]"},
    USAGE | {"team": "a\x1b[31mb\nc", "model": LONG, "prompt_tokens": 10**13},
]


def test_a_pipe_gets_the_whole_table(events: Path) -> None:
    events.write_text(lines(*ODD))
    done = run(events, "--group-by", "team,model", "--step", "hour")
    header, *rows = done.stdout.splitlines()
    assert header.split()[:3] == ["from", "team", "model"]
    assert rows[0].split()[:4] == ["2026-01-01", "12:00", "[/foo]", "[red]grün[/red]"]
    assert rows[1].split()[2:5] == ["a\\x1b[31mb\\nc", LONG, "10,000,000,000,000"]
    assert rows[2].split() == ["idle:", "GPUs", "without", "tokens", "0.030000"]
    assert "…" not in done.stdout


@pytest.mark.parametrize(
    ("step", "time"), [("hour", "2026-01-01 12:00"), ("day", "2026-01-01"), ("month", "2026-01")]
)
def test_times_are_as_short_as_the_step(events: Path, step: str, time: str) -> None:
    assert run(events, "--step", step).stdout.splitlines()[1].split("  ")[0].strip() == time


def test_a_narrow_terminal_cuts_no_number(events: Path) -> None:
    events.write_text(lines(*ODD))
    ours, theirs = pty.openpty()
    done = script(events, "--group-by", "team,model", stdout=theirs, env={**os.environ, "COLUMNS": "40"})
    os.close(theirs)
    shown = os.read(ours, 2**16).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "10,000,000,000,000" in shown
    assert "0.060000" in shown
    assert "…" not in shown
    assert "xxxxxxxxxx \x20" in shown
    assert "\x1b[31m" not in shown


def test_unpriced_tokens_are_told(events: Path) -> None:
    events.write_text(lines(READING, {**USAGE, "gpu_uuid": "GPU-silent"}))
    assert (
        "100 tokens are unpriced: they name no GPU or deployment that reported in that hour."
        in run(events).stdout.splitlines()
    )


@pytest.mark.parametrize(
    ("resets", "told"), [({}, False), ({"counter_resets": 0}, False), ({"counter_resets": 2}, True)]
)
def test_counter_resets_are_told(events: Path, resets: dict[str, int], told: bool) -> None:
    events.write_text(lines(READING, USAGE | resets))
    note = "Counters began anew, by the events: 2. What they counted after they were last read is missing."
    assert (note in run(events).stdout.splitlines()) is told


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_is_a_formula(events: Path, start: str) -> None:
    events.write_text(lines(READING, USAGE | {"team": f"{start}1"}))
    done = run(events, "--group-by", "team", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout_bytes.decode(), newline=""))
    assert (row["team"], row["cost_usd"]) == (f"'{start}1", "0.03")


@pytest.mark.parametrize(
    ("event", "levels"), [(None, 60_000), (None, 100_000), (USAGE, 3_000), (READING, 3_000)]
)
def test_a_deep_line_is_refused(events: Path, event: Any, levels: int) -> None:
    deep = "[" * levels
    if event is not None:
        deep = f'{json.dumps(event)[:-1]}, "x": {deep}{"]" * levels}}}'
    events.write_text(lines(READING, USAGE, deep))
    done = run(events)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{events}, line 3: ")
    assert is_one_sentence(done.stderr)


@pytest.mark.parametrize(
    ("option", "values", "remedy"),
    [
        ("--price-per-hour-usd", ("inf", "nan", "1e400", "1e308", "100001", "-1"), "0 to 100000"),
        ("--metric-gap-seconds", ("inf", "nan", "1e308", "86401", "0"), "more than 0, at most 86400"),
    ],
)
def test_numbers_have_the_bounds_of_the_settings(
    events: Path, option: str, values: tuple[str, ...], remedy: str
) -> None:
    for value in values:
        done = run(events, f"{option}={value}")
        assert done.exit_code == 2
        assert done.stderr.startswith(f"{option} is ")
        assert done.stderr.endswith(f"{remedy}.\n")
        assert is_one_sentence(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["f", "--step", "week"], "'--step': 'week' is not one of 'hour', 'day', 'month'"),
        (["f", "--basis", "x"], "'--basis': 'x'"),
        (["f", "--format", "x"], "'--format': 'x'"),
        (["f", "--price-per-hour-usd", "x"], "'x' is not a valid float"),
        (["f", "--colour"], "--colour"),
        ([], "Missing argument"),
        (["-", "--catalog", "-"], "--catalog is '-', and so are the events"),
    ],
)
def test_wrong_usage_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu-token-cost", *arguments])
    assert main() == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert is_one_sentence(said.err)
    assert said.out == ""


def test_a_closed_standard_input_is_said() -> None:
    done = subprocess.run([f"{COMMAND} - <&-"], shell=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"standard input, which is closed" in done.stderr
    assert is_one_sentence(done.stderr)


@pytest.mark.parametrize("form", ["json", "table", "csv"])
def test_a_full_disk_is_said(events: Path, form: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = script(events, "--format", form, stdout=full)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert is_one_sentence(done.stderr)


def test_a_reader_that_leaves_is_no_failure_to_talk_about(events: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = script(events, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("form", ["json", "table", "csv"])
def test_names_are_utf_8_whatever_the_locale(events: Path, form: str) -> None:
    events.write_text(lines(READING, USAGE | {"model": "grün"}))
    done = script(events, "--format", form, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert "grün" in done.stdout.decode()
    assert done.stderr == b""


def test_a_pipe_may_have_a_name(events: Path) -> None:
    expected = script(events).stdout
    assert b"0.030000" in expected
    for call in (
        f"{COMMAND} <(cat {events})",
        f"cat {events} | {COMMAND} /dev/stdin",
        f"{COMMAND} /dev/stdin <{events}",
    ):
        done = subprocess.run(["bash", "-c", call], capture_output=True, check=True)
        assert done.stdout == expected


def test_a_byte_order_mark_is_no_part_of_the_first_line(events: Path, tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    usage = tmp_path / "usage.jsonl"
    usage.write_bytes(mark + lines(USAGE).encode())
    for content in (lines(READING, USAGE), lines(READING | {"ts": "2026-01-01T12:00:05Z"}, READING, USAGE)):
        events.write_text(content)
        expected = run(events, usage, "--format", "json").stdout
        assert json.loads(expected)["total"]["tokens"]["total"] == 200
        events.write_bytes(mark + content.encode())
        assert run(events, usage, "--format", "json").stdout == expected
    events.write_bytes(mark)
    assert run(events).exit_code == 0


def test_an_end_before_the_start_is_an_empty_range(events: Path) -> None:
    found = json.loads(run(events, "--start", RANGE[3], "--end", RANGE[1], "--format", "json").stdout)
    assert found["reason"] == "empty_range"
    assert found["window"] == {
        "start": "2026-01-01T12:00:10Z",
        "end": "2026-01-01T12:00:00Z",
        "seconds": -10,
        "chosen_by": "request",
    }


def test_steps_are_counted_once_the_events_bound_the_range(events: Path) -> None:
    for arguments in (["--start", "2020-01-01T00:00:00Z"], ["--end", "2030-01-01T00:00:00Z"]):
        done = run(events, *arguments, "--step", "hour")
        assert done.exit_code == 2
        assert "step is 'hour'" in done.stderr
        assert is_one_sentence(done.stderr)
        assert run(events, *arguments, "--step", "day").exit_code == 0


def test_energy_has_a_price(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events.write_text(lines(READING | {"power_w": 1000}, USAGE))
    monkeypatch.setenv("PRICE_PER_KWH_USD", "0.36")
    found = json.loads(run(events, *RANGE, "--format", "json").stdout)
    assert found["energy"]["cost_usd"] == pytest.approx(0.001)
    done = run(events, "--price-per-kwh-usd", "nan")
    assert done.exit_code == 2
    assert "--price-per-kwh-usd" in done.stderr
