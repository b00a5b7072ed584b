"""An engine as a process of its own on this computer, whose lives follow each other at one address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from drill.sources.record import Life, read
from lab.errors import LabError
from lab.settings import ROOT
from lab.waiting import until

_START_SECONDS = 60
_DRAIN_SECONDS = 60
_END_SECONDS = 20


class Engine:
    """Listens at one of this computer's addresses. What each life showed stands in a file of `folder`."""

    def __init__(self, host: str, port: int, folder: Path, seed: str) -> None:
        self.address = f"{host}:{port}"
        self._listens_at = (host, str(port))
        self._folder = folder
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None
        self._records: list[Path] = []

    @property
    def lives(self) -> list[Life]:
        """All of them so far, as they are written down."""
        return [_read(record) for record in self._records]

    @property
    def life(self) -> Life:
        """The newest."""
        return _read(self._records[-1])

    def start(self) -> None:
        """Begin another life."""
        number = len(self._records) + 1
        record = self._folder / f"life-{number}.jsonl"
        record.touch()
        self._records.append(record)
        with (self._folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "drill.sources.engine", *self._listens_at),
                    *(str(record), f"{self._seed}/{number}"),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                # So that Ctrl-C reaches only the drill, which ends this process itself.
                start_new_session=True,
            )
        until(
            lambda: self.life.listening,
            f"the drill's engine does not listen at {self.address}",
            _START_SECONDS,
            f"see {self._folder / 'engine.log'}",
        )

    def kill(self) -> None:
        """SIGKILL. It does not strike within an answer: nobody could say who has seen that."""
        process = self._running()
        while True:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            if not self.life.answering:
                break
            process.send_signal(signal.SIGCONT)
            time.sleep(0.002)
        process.kill()
        process.wait(_END_SECONDS)

    def drain(self) -> None:
        """SIGTERM, and wait until it was looked at once more and has gone."""
        process = self._running()
        process.terminate()
        try:
            process.wait(_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            raise LabError(f"nobody looked at the engine within {_DRAIN_SECONDS} s of its SIGTERM.") from None
        if any(self.life.unseen):
            raise LabError(f"the drill's engine went though nobody had seen {self.life.unseen}.")

    def remove(self) -> None:
        """End the process, whatever happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_END_SECONDS)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"the drill's engine has ended by itself: see {self._folder / 'engine.log'}.")
        return self._process


def _read(record: Path) -> Life:
    # The last line may be half written.
    return read(record.read_text().rpartition("\n")[0].splitlines())
