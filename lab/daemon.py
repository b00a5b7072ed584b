"""A background process that outlives the command which started it.

It carries a mark in its environment and is found by that mark: a pid file could be lost, or name
a process that is meanwhile somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

MARK = "GPU_TOKEN_LAB_DAEMON"


@dataclass(frozen=True)
class Daemon:
    """A process; ``program`` is its command's name as the kernel shows it, its log lies in ``folder``."""

    name: str
    program: str
    folder: Path

    @property
    def log(self) -> Path:
        """Where the process's output goes."""
        return self.folder / f"{self.name}.log"

    @property
    def mark(self) -> str:
        """The environment entry by which the process is known."""
        return f"{MARK}={self.folder / self.name}"

    def pid(self) -> int | None:
        """The process's id, or None if it does not run."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                # Children inherit the mark, so the name is checked too.
                if (folder / "comm").read_text().rstrip("\n") != self.program[:15]:
                    continue
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if self.mark.encode() in environment:
                return int(folder.name)
        return None

    def start(self, command: list[str], answers: Callable[[], bool], timeout_seconds: float) -> None:
        """Start the process and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=os.environ | dict([self.mark.split("=", 1)]),
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_seconds
        while not answers():
            if process.poll() is not None:
                raise LabError(f"{self.name} ended at once (status {process.returncode}): see {self.log}.")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} did not answer within {timeout_seconds:g} s: see {self.log}.")
            time.sleep(0.1)

    def stop(self, timeout_seconds: float = 20) -> bool:
        """End the process, by force if it must be; True if it ran."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, number)
                # Readable only once the process has ended, and then its ports are closed.
                if select.select([process], [], [], timeout_seconds)[0]:
                    break
        finally:
            os.close(process)
        return True


def answers(url: str) -> bool:
    """Whether an HTTP server answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
