"""Progress of a long run on standard error."""

import sys
import time

from gpu_token_producers.counts import Totals

_PRINT_SECONDS = 5.0


class ProgressPrinter:
    """Observer that prints the counts and the rate every few seconds, if they changed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = Totals(0, 0, 0)
        self._last_at = time.monotonic()

    def __call__(self, totals: Totals) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        elapsed = now - self._last_at
        if elapsed < _PRINT_SECONDS or totals == self._last:
            return
        rate = (totals.delivered - self._last.delivered) / elapsed
        print(
            f"{self._name}: sent {totals.sent}, delivered {totals.delivered}, "
            f"failed {totals.failed}, {rate:.0f} delivered a second",
            file=sys.stderr,
            flush=True,
        )
        self._last, self._last_at = totals, now
