"""Refuses what has not happened yet: the processor would not take it either."""

import time

from gpu_token_contracts import bounds


def check_not_ahead(since_1970_seconds: float, shown: str) -> None:
    """Raises ValueError with a sentence for a time too far ahead of the clock here; `shown` is that time."""
    if since_1970_seconds - time.time_ns() / 1e9 > bounds.MAX_AHEAD_SECONDS:
        raise ValueError(
            f"Its time is {shown}, more than {bounds.MAX_AHEAD_SECONDS} seconds ahead of the clock here: "
            "correct the sender's clock."
        )
