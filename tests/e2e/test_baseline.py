"""Each machine of the fleet holds the baselines, and runs its one service as it should."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lab.settings import from_environment

from .environment import FLEET, ROLES
from .runner import ROOT


@pytest.mark.usefixtures("converged")
def test_every_machine_holds_the_baselines() -> None:
    hosts = ",".join(f"ssh://{machine}" for machine in ROLES)
    config = from_environment(os.environ, FLEET).state / "ssh" / "config"
    options = ["-q", "-p", "no:cacheprovider", f"--hosts={hosts}", f"--ssh-config={config}"]
    run = [sys.executable, "-m", "pytest", *options, "molecule/shared/baseline", "molecule/shared/service"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
