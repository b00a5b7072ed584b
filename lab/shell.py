"""Runs a command: returns its output, or raises one sentence with what it printed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab.errors import LabError


def run(command: Sequence[str], stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
    """The standard output of a command that must succeed."""
    done = attempt(command, stdin, timeout_seconds)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise LabError(f"`{' '.join(command[:6])}` failed: {said}")
    return done.stdout.decode(errors="replace")


def attempt(
    command: Sequence[str], stdin: bytes | None = None, timeout_seconds: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that may fail; one that takes too long counts as failed."""
    try:
        return subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        note = f"no answer within {timeout_seconds:g} s".encode()
        return subprocess.CompletedProcess(command, 124, b"", note)
    except FileNotFoundError as error:
        raise LabError(f"the command {command[0]} is missing: run `make setup-lab`.") from error


def succeeds(command: Sequence[str], timeout_seconds: float = 120) -> bool:
    """Whether a command ends with status 0."""
    return attempt(command, timeout_seconds=timeout_seconds).returncode == 0
