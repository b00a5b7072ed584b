"""pre-commit's hooks: the tools that they should run, each there or named as left out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HOOKS = {
    hook["id"]: hook
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repo["hooks"]
}
IF_INSTALLED = "scripts/if_installed.sh"


def test_every_tool_has_its_hook() -> None:
    wanted = {"terraform-fmt", "terraform-validate", "tflint", "checkov", "ansible-lint", "ruff"}
    assert wanted <= set(HOOKS)


def test_every_hook_runs_something_that_is_there() -> None:
    for name, hook in HOOKS.items():
        programs = [word for word in hook["entry"].split() if word.startswith((".venv/", "scripts/"))]
        assert programs or hook["entry"].startswith("env PATH=.venv/bin"), name
        for program in programs:
            assert os.access(ROOT / program, os.X_OK), f"{name}: {program} is not there"


def test_a_tool_that_may_be_missing_is_said_to_be() -> None:
    for name, hook in HOOKS.items():
        assert (IF_INSTALLED in hook["entry"]) == (name.startswith("terraform-") or name == "tflint"), name
        if IF_INSTALLED in hook["entry"]:
            assert hook["verbose"], f"{name}: pre-commit shows what a passing hook prints only if verbose"


def if_installed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / IF_INSTALLED, *arguments], capture_output=True, text=True, check=False)


def test_a_missing_tool_is_left_out_with_a_line() -> None:
    done = if_installed("no-such-tool", "false")
    assert (done.returncode, done.stdout) == (0, "left out: no-such-tool, not installed\n")


def test_a_tool_that_is_there_decides() -> None:
    assert if_installed("sh", "sh", "-c", "exit 3").returncode == 3
