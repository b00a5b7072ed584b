"""A seeded trace of the shape of the Azure code trace of 2023, for those without the file."""

import random
from datetime import datetime, timedelta
from typing import NamedTuple

from gpu_token_producers.traces.azure import HEADER

_FIRST = datetime(2023, 11, 16, 18, 17, 3, 979960)
# The public trace: 8,819 requests in 3,436 seconds, 2,048 prompt and 28 completion tokens on average.
_MEAN_GAP_SECONDS = 3436 / 8819
_PROMPT_MU, _PROMPT_SIGMA, _PROMPT_MAX = 7.2, 0.95, 7437
_COMPLETION_MU, _COMPLETION_SIGMA, _COMPLETION_MAX = 2.7, 0.95, 1899


class SyntheticTrace(NamedTuple):
    """The file's bytes and the totals it holds."""

    content: bytes
    rows: int
    prompt_tokens: int
    completion_tokens: int


def synthetic_trace(rows: int, seed: int) -> SyntheticTrace:
    """A trace of `rows` requests; the same seed makes the same bytes."""
    draw = random.Random(seed)
    ts = _FIRST
    prompt_total = completion_total = 0
    lines = [",".join(HEADER)]
    for _ in range(rows):
        prompt = _tokens(draw, _PROMPT_MU, _PROMPT_SIGMA, _PROMPT_MAX)
        completion = _tokens(draw, _COMPLETION_MU, _COMPLETION_SIGMA, _COMPLETION_MAX)
        # Seven fractional digits, as the public trace has them.
        lines.append(f"{ts:%Y-%m-%d %H:%M:%S.%f}0,{prompt},{completion}")
        prompt_total += prompt
        completion_total += completion
        ts += timedelta(seconds=draw.expovariate(1 / _MEAN_GAP_SECONDS))
    return SyntheticTrace("\r\n".join(lines).encode(), rows, prompt_total, completion_total)


def _tokens(draw: random.Random, mu: float, sigma: float, largest: int) -> int:
    return max(1, min(largest, round(draw.lognormvariate(mu, sigma))))
