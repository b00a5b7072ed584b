"""Runs the real tools, and turns a failure into one sentence with the end of what they printed."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.images.errors import ImageError

LAST_LINES = 20


def run(
    arguments: Sequence[str],
    *,
    purpose: str,
    stdin: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run to the end and return standard output; ``purpose`` completes "Could not …"."""
    try:
        with (stdin or Path(os.devnull)).open("rb") as source:
            done = subprocess.run(
                arguments, stdin=source, capture_output=True, text=True, errors="replace", env=env, cwd=cwd
            )
    except FileNotFoundError as missing:
        raise ImageError(
            f"Could not {purpose}: {missing.filename} is not installed; run make setup."
        ) from missing
    if done.returncode != 0:
        tail = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-LAST_LINES:])
        raise ImageError(
            f"Could not {purpose}: {arguments[0]} ended with status {done.returncode}, after:\n  {tail}"
        )
    return done.stdout


def succeeds(arguments: Sequence[str]) -> bool:
    """True when the command exists and exits 0; its output is dropped."""
    try:
        return subprocess.run(arguments, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
