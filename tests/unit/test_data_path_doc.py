"""docs/data-path.md names code and tests; each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "docs" / "data-path.md").read_text().splitlines() if line.startswith("| ")]
TESTS = sorted({name for row in ROWS for name in re.findall(r"`(test_\w+\.py::\w+)`", row)})
CODE = sorted({name for row in ROWS for name in re.findall(r"`([a-z_/]+(?:\.py|/))`", row)})


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_is_named_is_there(name: str) -> None:
    file, function = name.split("::")
    (path,) = (
        path
        for folder in ("apps", "molecule", "tests")
        for path in (ROOT / folder).rglob(file)
        if f"def {function}(" in path.read_text()
    )
    assert path.is_file()


@pytest.mark.parametrize("name", CODE)
def test_code_that_is_named_is_there(name: str) -> None:
    packages = ("apps/processor/gpu_token_processor", "apps/producers/gpu_token_producers", ".")
    assert any((ROOT / package / name).exists() for package in packages)


def test_every_row_names_a_test() -> None:
    assert [row for row in ROWS[1:] if "::" not in row and not row.startswith("| **")] == []
