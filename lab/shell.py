"""Runs a command: returns its output, or raises an error with the end of what it printed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError

_SHOWN_LINES = 20


def run(
    command: Sequence[str],
    stdin: bytes | Path = b"",
    timeout_seconds: float | None = 120,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """The standard output of a command that must succeed."""
    done = attempt(command, stdin, timeout_seconds, env=env, cwd=cwd)
    if done.returncode:
        printed = (done.stdout + done.stderr).decode(errors="replace").strip()
        said = "\n  ".join(printed.splitlines()[-_SHOWN_LINES:]) or f"exit status {done.returncode}"
        raise LabError(f"`{' '.join(command[:6])}` failed: {said}")
    return done.stdout.decode(errors="replace")


def attempt(
    command: Sequence[str],
    stdin: bytes | Path = b"",
    timeout_seconds: float | None = 120,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that may fail; one that takes too long counts as failed."""
    with contextlib.ExitStack() as stack:
        source: dict[str, Any] = {"input": stdin}
        if isinstance(stdin, Path):
            source = {"stdin": stack.enter_context(stdin.open("rb"))}
        try:
            return subprocess.run(
                command, capture_output=True, timeout=timeout_seconds, check=False, env=env, cwd=cwd, **source
            )
        except subprocess.TimeoutExpired:
            note = f"no answer within {timeout_seconds:g} s".encode()
            return subprocess.CompletedProcess(command, 124, b"", note)
        except FileNotFoundError as error:
            raise LabError(f"the command {command[0]} is missing: run `make setup-lab`.") from error


def succeeds(command: Sequence[str], timeout_seconds: float = 120) -> bool:
    """Whether a command ends with status 0."""
    return attempt(command, timeout_seconds=timeout_seconds).returncode == 0
