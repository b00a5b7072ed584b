"""Terraform itself, against a stand-in that serves the AWS provider's real schema."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NO_TERRAFORM = "terraform is not installed here; the schema tests in Python ran all the same"


@dataclass(frozen=True)
class Terraform:
    """Runs terraform in a copy of terraform/, so that nothing is left in the checkout."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One terraform command; the caller judges its exit status."""
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def test(self, *arguments: str) -> list[dict[str, Any]]:
        """The messages of `terraform test`."""
        done = self.run("test", "-json", *arguments)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def standin_environment() -> Iterator[dict[str, str]]:
    """An environment in which terraform finds the stand-in and nothing of the user's own."""
    if shutil.which("terraform") is None:
        pytest.skip(NO_TERRAFORM)
    own = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "AWS_"))}
    command = [sys.executable, "-m", "tests.terraform.standin"]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as standin:
        assert standin.stdin is not None
        assert standin.stdout is not None
        told = json.loads(standin.stdout.readline())
        yield own | told | {"TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1"}
        standin.stdin.close()


def initialised(environment: dict[str, str], folder: Path) -> Terraform:
    """Terraform, initialised in a copy of the configuration with its fleet.yml beside it."""
    leave_out = shutil.ignore_patterns(".terraform*", "*.tfvars", "*.tfstate*", "backend.tf")
    shutil.copytree(ROOT / "terraform", folder / "terraform", ignore=leave_out)
    shutil.copy(ROOT / "fleet.yml", folder)
    started = Terraform(folder / "terraform", environment)
    done = started.run("init", "-backend=false", "-input=false", "-no-color")
    assert done.returncode == 0, done.stderr
    return started


@pytest.fixture
def terraform(standin_environment: dict[str, str], tmp_path: Path) -> Terraform:
    """A copy for one test."""
    return initialised(standin_environment, tmp_path)
