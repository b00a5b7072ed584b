"""Keeps a consumer running: starts it again when it fails, but not after the guard has tripped."""

import logging
import threading
import time
from collections.abc import Callable

from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.guard import GuardTripped
from gpu_token_processor.pipeline.state import ConsumerState, Phase

log = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0


# Runs one consumer; returns when the event is set.
Run = Callable[[threading.Event], None]


class Supervisor:
    """Owns the consumer's thread."""

    def __init__(self, run: Run, state: ConsumerState, metrics: Metrics) -> None:
        self._run = run
        self._state = state
        self._metrics = metrics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="consumer", daemon=True)

    def start(self) -> None:
        """Start, even if Kafka and MongoDB do not answer."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Stop the thread; whether all unfinished work was done in time."""
        self._stop.set()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _supervise(self) -> None:
        wait_seconds = _FIRST_WAIT_SECONDS
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._run(self._stop)
            except GuardTripped as tripped:
                self._halt(str(tripped))
                return
            except Exception as error:
                if time.monotonic() - started > _LONGEST_WAIT_SECONDS:
                    wait_seconds = _FIRST_WAIT_SECONDS
                log.exception("the consumer failed and is started again in %.0f s", wait_seconds)
                self._state.phase = Phase.FAILED
                self._state.reason = f"{type(error).__name__}: {error}"
                self._metrics.restarts.inc()
                self._stop.wait(wait_seconds)
                wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)
        self._state.phase = Phase.STOPPED
        self._state.reason = "The processor is stopping."

    def _halt(self, reason: str) -> None:
        log.error("stopped: %s", reason)
        self._state.phase = Phase.STOPPED
        self._state.guard_tripped = True
        self._state.reason = reason
