"""What the consumer is doing, for /health to tell. Written by its threads, read by HTTP."""

import time
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """STOPPED is for good: the guard has tripped, or the processor ends."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True)
class ConsumerState:
    """Single assignments of whole values, so that readers need no lock."""

    phase: Phase = Phase.STARTING
    reason: str | None = None
    guard_tripped: bool = False
    # Monotonic seconds.
    last_poll: float | None = None
    paused_since: float | None = None
    write_failing_since: float | None = None
    write_failure: str | None = None
    # (topic, partition, events not stored yet)
    lags: tuple[tuple[str, int, int], ...] = field(default=())
    assigned_partitions: int = 0

    def polled(self) -> None:
        """The consumer has come round once more."""
        self.last_poll = time.monotonic()
