"""README's first answer is what the command prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "README.md").read_text().split("\n## A first answer\n")[1].split("\n## ")[0]
COMMAND = str(Path(sys.executable).with_name("gpu-token-cost"))


def block(language: str, after: str = "") -> str:
    """The first block of code in that language which begins so."""
    found = re.search(rf"^```{language}\n({re.escape(after)}.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def printed(folder: Path, *arguments: str) -> list[str]:
    """The lines that the command prints, without the blanks at their ends."""
    done = subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_the_example_prints_what_readme_shows() -> None:
    go, call, *shown = block("console", "$ cd ").splitlines()
    command, *arguments = shlex.split(call.removeprefix("$ "))
    assert command == "gpu-token-cost"
    assert printed(ROOT / go.removeprefix("$ cd "), *arguments) == shown


def test_two_lines_are_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(block("json"))
    header, row, *_ = printed(tmp_path, "own.jsonl", "--group-by", "team")
    assert header.split()[0] == "team"
    assert row.split() == ["red", "800", "0", "200", "0.033333", "33.333333"]
