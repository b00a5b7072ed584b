"""Checks every few seconds whether Kafka and MongoDB answer."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gpu_token_processor.store.failures import brief

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 2.0
# An answer this old counts as none.
_FRESH_SECONDS = 15.0


@dataclass(slots=True)
class Probe:
    """One question, and its latest answer."""

    name: str
    # Raises when the answer is no; its message is the reason.
    ask: Callable[[], None]
    failure: str | None = "not asked yet"
    # The latest failure, so that the log names each kind once and not each attempt.
    kind: type[Exception] | None = None
    # Monotonic seconds.
    last_success: float | None = None

    def run(self) -> None:
        """Ask once."""
        try:
            self.ask()
        except Exception as error:
            if type(error) is not self.kind:
                log.warning("%s does not answer: %s", self.name, brief(error))
            self.failure, self.kind = brief(error), type(error)
            return
        if self.failure is not None:
            log.info("%s answers", self.name)
        self.failure = self.kind = None
        self.last_success = time.monotonic()

    @property
    def problem(self) -> str | None:
        """Why the service must be considered absent, or None."""
        if self.failure is not None:
            return f"{self.name}: {self.failure}"
        if self.last_success is None or time.monotonic() - self.last_success > _FRESH_SECONDS:
            return f"{self.name}: no answer for {_FRESH_SECONDS:g} s"
        return None


class Monitor:
    """Runs each probe in a thread of its own, so that none waits for another."""

    def __init__(self, *probes: Probe, interval_seconds: float = _INTERVAL_SECONDS) -> None:
        self.probes = probes
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to ask."""
        for probe in self.probes:
            name = f"probe-{probe.name}"
            threading.Thread(target=self._ask_again_and_again, args=(probe,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _ask_again_and_again(self, probe: Probe) -> None:
        while not self._stop.is_set():
            probe.run()
            self._stop.wait(self._interval_seconds)
