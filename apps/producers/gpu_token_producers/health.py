"""`python -m gpu_token_producers.health`: exit 0 while deliveries continue, else 1 with a sentence."""

import os
import sys
import time
from pathlib import Path

import msgspec

from gpu_token_producers.heartbeat import Heartbeat, heartbeat_path

_STALE_SECONDS = 15.0
_DEFAULT_STALL_SECONDS = 30.0


def problem(path: Path, now: float, stall_seconds: float) -> str | None:
    """What is wrong with the producer whose heartbeat file is `path`; None if nothing is."""
    try:
        beat = msgspec.json.decode(path.read_bytes(), type=Heartbeat)
    except FileNotFoundError:
        return f"There is no heartbeat at {path}: the producer has not reached Kafka and its topics yet."
    except (OSError, msgspec.MsgspecError) as error:
        return f"The heartbeat {path} cannot be read: {error}."
    age = now - beat.written_at
    # A negative age is a file from before the machine's last boot.
    if not 0 <= age <= _STALE_SECONDS:
        return f"The heartbeat is {abs(age):.0f} seconds away: the producer's loop stands still."
    if beat.failure_at is not None and now - beat.failure_at <= stall_seconds:
        return f"A delivery failed {now - beat.failure_at:.0f} seconds ago ({beat.failed} so far)."
    if now - beat.progress_at > stall_seconds:
        waiting = beat.sent - beat.delivered - beat.failed
        return f"Nothing was delivered for {now - beat.progress_at:.0f} seconds and {waiting} events wait."
    return None


def main() -> int:
    """The health check's exit status."""
    setting = os.environ.get("HEALTH_STALL_SECONDS") or _DEFAULT_STALL_SECONDS
    try:
        stall_seconds = float(setting)
    except ValueError:
        print(f"HEALTH_STALL_SECONDS is {setting!r}: give a number of seconds.")
        return 1
    found = problem(heartbeat_path(), time.monotonic(), stall_seconds)
    print(found or "Deliveries go on.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
