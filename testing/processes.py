"""Processes that end with the block, and what the kernel says they used."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

# CPUCLOCK_SCHED of linux/posix-timers.h: time on a processor, in user and system mode.
_CPU_CLOCK = 2
_STOP_SECONDS = 20
_SHOWN_LINES = 15


class ProcessError(Exception):
    """What a process failed at, with the last that it printed."""


class Used(NamedTuple):
    """What a process has used since it began: seconds in user and system mode, largest resident set."""

    cpu_seconds: float
    peak_mib: float


class Process:
    """A process whose output goes to a file, ended when the block ends."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._popen.kill()
        self._popen.wait()

    def used(self) -> Used:
        """What the process has used so far, all threads included."""
        self.check()
        pid = self._popen.pid
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        peak = next(line for line in status if line.startswith("VmHWM:"))
        # The clock that clock_getcpuclockid(3) names: to the nanosecond, where /proc counts hundredths.
        return Used(time.clock_gettime(~pid << 3 | _CPU_CLOCK), int(peak.split()[1]) / 1024)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process (SIGSTOP) until the block ends."""
        self._popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._popen.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise if the process has ended."""
        if self._popen.poll() is not None:
            raise ProcessError(
                f"{self.name} ended with status {self._popen.returncode}:\n{self._last_lines()}"
            )

    def wait_for(self, condition: Callable[[], bool], what: str, within_seconds: float = 180) -> None:
        """Return once the condition holds; raise if the process ends or the time is over."""
        deadline = time.monotonic() + within_seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name}: not within {within_seconds:g} seconds: {what}.\n{self._last_lines()}"
                )
            time.sleep(0.05)

    def output(self) -> str:
        """All that the process has printed so far."""
        return self._log.read_text(errors="replace")

    def _last_lines(self) -> str:
        return "\n".join(self.output().splitlines()[-_SHOWN_LINES:])


def run(command: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end, and return what it prints; raise if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ProcessError(f"{command[0]} is not installed: run `make setup-lab`.") from error
    if done.returncode:
        raise ProcessError(f"{command[0]} failed: {(done.stdout + done.stderr).strip()}")
    return done.stdout
