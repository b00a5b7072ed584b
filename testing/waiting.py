"""Waiting for something to come true."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], what: str, within_seconds: float = 120) -> None:
    """Return once the condition holds; it fails with `what` if the time is over."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {what}"
        time.sleep(0.05)
