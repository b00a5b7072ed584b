"""The running producer's sign of life, read by the health check."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from gpu_token_producers.counts import Totals
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.files import write_atomically

_WRITE_SECONDS = 2.0


class Heartbeat(msgspec.Struct, kw_only=True):
    """Moments are seconds of the machine's monotonic clock, which all its processes share."""

    written_at: float
    progress_at: float
    failure_at: float | None
    sent: int
    delivered: int
    failed: int


def heartbeat_path() -> Path:
    """The heartbeat's file: HEALTH_FILE, or one in the folder for temporary files."""
    return Path(os.environ.get("HEALTH_FILE") or Path(tempfile.gettempdir()) / "gpu-token-producers.json")


class HeartbeatWriter:
    """Observer that writes the heartbeat; progress is a delivery, or nothing to deliver."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.unlink(missing_ok=True)
            write_atomically(path, b"")
            path.unlink()
        except OSError as error:
            raise ProducerError(f"HEALTH_FILE {path} cannot be written: {error.strerror}.") from error
        now = time.monotonic()
        self._next_write = now
        self._state = Heartbeat(
            written_at=now, progress_at=now, failure_at=None, sent=0, delivered=0, failed=0
        )

    def __call__(self, totals: Totals) -> None:
        """Take note of the counts, and write them every two seconds."""
        now = time.monotonic()
        state = self._state
        if totals.outstanding == 0 or totals.delivered > state.delivered:
            state.progress_at = now
        if totals.failed > state.failed:
            state.failure_at = now
        state.sent, state.delivered, state.failed = totals.sent, totals.delivered, totals.failed
        if now >= self._next_write:
            self._next_write = now + _WRITE_SECONDS
            state.written_at = now
            # If the file cannot be written it grows old, and the health check reports that.
            with suppress(OSError):
                write_atomically(self._path, msgspec.json.encode(state))
