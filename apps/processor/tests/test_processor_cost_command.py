"""`gpu-token-cost` as people call it."""

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gpu_token_processor.ledger.command import app
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
