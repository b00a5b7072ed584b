"""The load that runs while services are broken."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drill.accounts import Sent
from drill.service import Service
from lab import shell
from lab.errors import LabError

_SCRIPT = Path(__file__).parent / "remote" / "send_events.py"
_BEGIN_SECONDS = 60
# Longer than the script waits for the last deliveries.
_END_SECONDS = 240


@dataclass(frozen=True)
class Order:
    """What to send. If `events` is None, the load runs until it is stopped."""

    run: str
    per_second: float
    poison_share: float
    seed: int
    events: int | None = None

    def arguments(self) -> list[str]:
        """The script's arguments."""
        arguments = [f"--run={self.run}", f"--per-second={self.per_second}", f"--seed={self.seed}"]
        arguments += [f"--poison-share={self.poison_share}"]
        return arguments + ([f"--events={self.events}"] if self.events else [])


class Load:
    """A script that names what it sent, running in its own container on the producers' machine."""

    CONTAINER = "drill-load"

    def __init__(
        self, producers: Service, command: Sequence[str], container: str = CONTAINER, script: Path = _SCRIPT
    ) -> None:
        self._producers = producers
        self._container = container
        self.remove()
        self._process = subprocess.Popen(
            producers.on_machine(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        self._sent = Sent()
        self._begun = threading.Event()
        self._said: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_sent, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        assert self._process.stdin is not None
        self._process.stdin.write(script.read_text())
        self._process.stdin.close()
        if not self._begun.wait(_BEGIN_SECONDS):
            raise LabError(f"the load sent nothing within {_BEGIN_SECONDS} s: {self._last_words()}")

    def take(self) -> Sent:
        """What was sent since the last call."""
        with self._lock:
            taken, self._sent = self._sent, Sent()
        return taken

    def stop(self) -> None:
        """Send no more, and wait for the last deliveries."""
        self._producers.docker("kill", "--signal=TERM", self._container)
        self.finish()

    def finish(self) -> None:
        """Wait until all is sent and delivered."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"the load did not end within {_END_SECONDS} s.") from error
        for reader in self._readers:
            reader.join()
        if status:
            raise LabError(f"the load failed with exit status {status}: {self._last_words()}")

    def remove(self) -> None:
        """Remove the container, whatever happened."""
        shell.attempt(self._producers.on_machine("docker", "rm", "--force", self._container))

    def _read_sent(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._lock:
                self._sent.take(line)
            self._begun.set()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._said += self._process.stderr

    def _last_words(self) -> str:
        return " ".join("".join(self._said[-3:]).split()) or "it said nothing"
