"""What the consumer is doing, for /health. Its threads write this state, HTTP reads it."""

import time
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """STOPPED is final: the guard has tripped, or the processor is ending."""

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
        """Note that the consumer has finished another round."""
        self.last_poll = time.monotonic()
