"""A background process that outlives the command: started once, known by its pid file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


@dataclass(frozen=True)
class Daemon:
    """A process by name; its pid file and log lie in ``folder``."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        """Where the process's output goes."""
        return self.folder / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def pid(self) -> int | None:
        """The process's id, or None if it does not run."""
        try:
            record = json.loads(self._pid_file.read_text())
            pid, started = int(record["pid"]), int(record["started"])
        except (OSError, ValueError, KeyError):
            return None
        # A pid alone may meanwhile be somebody else's.
        return pid if started_ticks(pid) == started else None

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
                start_new_session=True,
            )
        self._pid_file.write_text(json.dumps({"pid": process.pid, "started": started_ticks(process.pid)}))
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
        if pid is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                if self._ended(timeout_seconds):
                    break
        self._pid_file.unlink(missing_ok=True)
        return pid is not None

    def _ended(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def started_ticks(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot; None for a dead one or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
