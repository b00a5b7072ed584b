"""Waits for a condition; raises one sentence if it does not hold in time."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.errors import LabError

_LOOK_SECONDS = 0.3


def until(condition: Callable[[], bool], failure: str, timeout_seconds: float, remedy: str = "") -> None:
    """Return once the condition holds; raise ``failure``, the time and the remedy if it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{failure} within {timeout_seconds:g} s{remedy and f': {remedy}'}.")
        time.sleep(_LOOK_SECONDS)
