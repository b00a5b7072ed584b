"""The worked examples of docs/cost-model.md: page, files, command and oracle say the same."""

import json
import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gpu_token_processor.ledger.command import app
from ledger_examples import EXAMPLES, FOLDER, answer_text, events_text
from ledger_product import differences
from typer.testing import CliRunner

PAGE = (Path(__file__).parents[3] / "docs" / "cost-model.md").read_text()
SECTION = PAGE.split("\n## Worked examples\n")[1].split("\n## ")[0]
COLUMNS = {
    "tokens": ("tokens", "total"),
    "requests": ("tokens", "requests"),
    "USD": ("cost_usd",),
    "USD a million tokens": ("cost_per_million_tokens_usd",),
    "uncached prompt, USD": ("cost_usd_by_class", "uncached_prompt"),
    "cached prompt, USD": ("cost_usd_by_class", "cached_prompt"),
    "completion, USD": ("cost_usd_by_class", "completion"),
}
IDLE = {"*fleet idle*": "fleet_usd", "*loaded idle*": "loaded_usd", "*unreported*": "unreported_usd"}


class Example(NamedTuple):
    """What a part of the section says."""

    arguments: list[str]
    header: list[str]
    rows: list[list[str]]


def on_page(text: str) -> Example:
    command = re.search(r"^    gpu-token-cost (.*)$", text, re.MULTILINE)
    assert command, text
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return Example(shlex.split(command[1]), header, rows)


ON_PAGE = {one.arguments[0].split("/")[0]: one for one in map(on_page, SECTION.split("\n### ")[1:])}


def test_the_page_has_every_example() -> None:
    assert set(ON_PAGE) == set(EXAMPLES) == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_files_are_what_the_script_writes_and_the_oracle_answers(name: str) -> None:
    assert (FOLDER / name / "events.jsonl").read_text() == events_text(name)
    assert (FOLDER / name / "expected.json").read_text() == answer_text(name)


@pytest.fixture
def expected(name: str) -> dict[str, Any]:
    """The oracle's answer."""
    found: dict[str, Any] = json.loads((FOLDER / name / "expected.json").read_text(), parse_float=Decimal)
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_command_prints_what_is_expected(
    name: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    done = CliRunner().invoke(app, ON_PAGE[name].arguments)
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout, parse_float=Decimal)
    assert differences(expected, printed) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_table_shows_what_is_expected(name: str, expected: dict[str, Any]) -> None:
    """Every row of the answer is in the table, in the same order; idle parts of 0 may be left out."""
    _, header, rows = ON_PAGE[name]
    keys = []
    for label, *cells in rows:
        shown = {column: decimal(cell) for column, cell in zip(header[1:], cells, strict=True) if cell}
        if label in IDLE:
            assert shown == {"USD": expected["idle"][IDLE[label]]}
            continue
        own = expected["total"]
        if label != "*total*":
            keys.append({header[0]: None if label == "*none*" else label})
            own = next(row for row in expected["rows"] if row["key"] == keys[-1])
        assert shown == {column: at(own, COLUMNS[column]) for column in header[1:]}, label
    assert keys == [row["key"] for row in expected["rows"]]
    labels = [label for label, *_ in rows]
    assert "*total*" in labels
    assert {label for label, field in IDLE.items() if expected["idle"][field]} <= set(labels)


def decimal(cell: str) -> Decimal:
    return Decimal(cell.replace(",", ""))


def at(row: dict[str, Any], path: tuple[str, ...]) -> Decimal:
    """A number of an answer, as the page shows it: USD to the cent."""
    value: Any = row
    for name in path:
        value = value[name]
    return Decimal(value).quantize(Decimal("0.01")) if path != ("tokens", "total") else Decimal(value)
