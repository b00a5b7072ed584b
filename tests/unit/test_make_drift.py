"""scripts/drift.sh: 0 is none, 2 is drift, 1 is that it could not be told; tests/e2e/test_drift.py drifts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECAP = "PLAY RECAP\nkafka-1 : ok=9 changed={changed} unreachable=0 failed=0\nmongo-1 : ok=9 changed=0\n"


def drift(
    folder: Path, environment: str, *, changed: int = 0, playbook: int = 0, plan: int = 0
) -> subprocess.CompletedProcess[str]:
    """One run in which ansible-playbook and terraform say what they are told to say."""
    for name in ("scripts/drift.sh", "scripts/terraform.sh", "terraform/allowed_cidrs.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "bin").mkdir()
    programs = {
        "ansible-playbook": f"cat <<'E'\n{RECAP.format(changed=changed)}E\nexit {playbook}\n",
        "terraform": f'echo "terraform $*"\nexit {plan}\n',
    }
    for name, text in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (folder / "bin" / name).chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["scripts/drift.sh", environment],
        cwd=folder,
        env=os.environ | {"PATH": path, "MY_IP_CIDR": "203.0.113.7/32"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_none(tmp_path: Path) -> None:
    done = drift(tmp_path, "lab")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "drift: none")
    assert "terraform" not in done.stdout


@pytest.mark.parametrize("changed", [1, 10])
def test_a_change_on_a_machine(tmp_path: Path, changed: int) -> None:
    done = drift(tmp_path, "lab", changed=changed)
    assert done.returncode == 2
    assert done.stderr == "drift: found; make deploy ENV=lab puts it right\n"


def test_a_playbook_that_fails_tells_nothing(tmp_path: Path) -> None:
    done = drift(tmp_path, "lab", changed=1, playbook=4)
    assert done.returncode == 1
    assert "could not be checked" in done.stderr


@pytest.mark.parametrize(("plan", "status"), [(0, 0), (2, 2), (1, 1)])
def test_aws_is_asked_as_well(tmp_path: Path, plan: int, status: int) -> None:
    done = drift(tmp_path, "aws", plan=plan)
    assert done.returncode == status
    assert "terraform -chdir=terraform plan -input=false -detailed-exitcode" in done.stdout


def test_a_change_on_a_machine_is_drift_whatever_terraform_says(tmp_path: Path) -> None:
    assert drift(tmp_path, "aws", changed=1).returncode == 2
