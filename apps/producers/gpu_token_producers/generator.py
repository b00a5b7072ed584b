"""Seeded events: each pair is one request's usage and one reading of the GPU that served it."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import count, cycle

from gpu_token_contracts import GpuMetric, TokenUsage

from gpu_token_producers.gpus import GpuSeed
from gpu_token_producers.ids import digest
from gpu_token_producers.teams import team_of
from gpu_token_producers.telemetry import gpu_metric

# Typical of the requests that this pipeline has seen.
_PROMPT_TOKENS = (256, 2048)
_COMPLETION_TOKENS = (64, 512)
_LATENCY_MS = (100, 800)
_UTILIZATION = (0.2, 0.98)


def pairs(
    gpus: Sequence[GpuSeed],
    *,
    seed: int,
    run: str,
    host: str,
    model: str,
    teams: Sequence[str] = (),
    now: Callable[[], datetime],
) -> Iterator[tuple[GpuMetric, TokenUsage]]:
    """Endless pairs, GPU by GPU. The values follow from the seed.

    The ids follow from the run, from all that the events are made of, and from when they began: a run
    of the same name is of other events.
    """
    draw = random.Random(seed)
    prefix = f"{run}:{digest(gpus, seed, host, model, now(), *teams)}"
    for number, gpu in zip(count(1), cycle(gpus)):
        ts = now()
        metric = gpu_metric(
            gpu,
            host=host,
            ts=ts,
            event_id=f"{prefix}:gpu:{number}",
            utilization=draw.uniform(*_UTILIZATION),
        )
        usage = TokenUsage(
            ts=ts,
            event_id=f"{prefix}:usage:{number}",
            host=host,
            model=model,
            prompt_tokens=draw.randint(*_PROMPT_TOKENS),
            completion_tokens=draw.randint(*_COMPLETION_TOKENS),
            latency_ms=draw.randint(*_LATENCY_MS),
            gpu_index=gpu.gpu_index,
            gpu_uuid=gpu.uuid,
            team=team_of(teams, number, len(gpus)),
        )
        yield metric, usage
