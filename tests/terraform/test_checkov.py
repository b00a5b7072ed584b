"""checkov over terraform/: nothing fails, and every waiver is needed and has a reason.

checkov pins versions that clash with this project's, so it runs in an environment of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.hcl import files

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
CHECKOV = "checkov==3.3.30"
WAIVER = re.compile(r"#checkov:skip=(\w+): ?(.*)")


@pytest.fixture(scope="module")
def verdict() -> dict[str, Any]:
    """The results of one run."""
    done = subprocess.run(
        ["uv", "tool", "run", "--from", CHECKOV, "checkov", "--directory", str(TERRAFORM),
         "--framework", "terraform", "--output", "json", "--skip-download", "--compact"],
        text=True, capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.stdout, f"checkov said nothing: {done.stderr}"
    results: dict[str, Any] = json.loads(done.stdout)["results"]
    return results


def test_nothing_fails(verdict: dict[str, Any]) -> None:
    assert verdict["passed_checks"]
    failed = [
        f"{check['check_id']} {check['resource']}: {check['check_name']}"
        for check in verdict["failed_checks"]
    ]
    assert not failed, "\n".join(failed)
    assert not verdict["parsing_errors"]


def test_every_waiver_is_needed_and_has_a_reason(verdict: dict[str, Any]) -> None:
    waivers = {
        (str(file.relative_to(TERRAFORM)), check): reason
        for file in files(TERRAFORM)
        for check, reason in WAIVER.findall(file.read_text())
    }
    used = {(check["file_path"].lstrip("/"), check["check_id"]) for check in verdict["skipped_checks"]}
    assert set(waivers) == used
    for waiver, reason in waivers.items():
        assert len(reason.split()) > 5, f"{waiver}: give a reason"
