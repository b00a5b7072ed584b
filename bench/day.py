"""A day of a fleet as JSON lines: 100 GPUs with a reading a second each, and 100 requests a second."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from gpu_token_contracts import Event, GpuMetric, TokenUsage, encode

GPUS = 100
REQUESTS_PER_SECOND = 100
# At this price a second costs 0.001 USD: what an answer says of money, it says of covered time.
PRICE_PER_HOUR_USD = 3.6

_SEED = 1
_START = datetime(2026, 3, 2, tzinfo=UTC)
_GPUS_OF_HOST = 8
_MEMORY_MIB = 81_559
_MODELS = ("llama-3-70b", "mixtral-8x22b", "qwen3-32b", "gemma-3-27b")
_TEAMS = 5
_TENANTS = 20
# Each GPU is silent for a while now and then, longer and shorter than a reading holds.
_SILENT_EVERY_SECONDS = 7_200
_SILENT_SECONDS = (10, 90)


@dataclass(frozen=True, slots=True)
class Day:
    """Two files, as one would read them from the two topics."""

    readings: Path
    usage: Path
    events: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class _Gpu:
    uuid: str
    host: str
    index: int
    model: str
    # Within each second, when it is read.
    read_at_ms: int
    silent_from: int
    silent_seconds: int

    def is_silent(self, second: int) -> bool:
        return (second - self.silent_from) % _SILENT_EVERY_SECONDS < self.silent_seconds


def write_day(folder: Path, hours: float) -> Day:
    """The first hours of it, each file in order of time."""
    rng = random.Random(_SEED)
    gpus = _fleet(rng)
    seconds = round(hours * 3_600)
    readings, usage = folder / "readings.jsonl", folder / "usage.jsonl"
    written = _write(readings, _readings(rng, gpus, seconds)) + _write(usage, _usage(rng, gpus, seconds))
    return Day(readings, usage, written, _START, _START + timedelta(seconds=seconds))


def _fleet(rng: random.Random) -> list[_Gpu]:
    """A host's GPUs are read at one moment of the second, one host after the other."""
    hosts = -(-GPUS // _GPUS_OF_HOST)
    return [
        _Gpu(
            uuid=f"GPU-{UUID(int=rng.getrandbits(128), version=4)}",
            host=f"gpu-host-{number // _GPUS_OF_HOST + 1}",
            index=number % _GPUS_OF_HOST,
            model=_MODELS[number % len(_MODELS)],
            read_at_ms=number // _GPUS_OF_HOST * 1_000 // hosts,
            silent_from=rng.randrange(_SILENT_EVERY_SECONDS),
            silent_seconds=rng.randrange(*_SILENT_SECONDS),
        )
        for number in range(GPUS)
    ]


def _readings(rng: random.Random, gpus: list[_Gpu], seconds: int) -> Iterator[GpuMetric]:
    for second in range(seconds):
        for gpu in gpus:
            if gpu.is_silent(second):
                continue
            yield GpuMetric(
                ts=_START + timedelta(seconds=second, milliseconds=gpu.read_at_ms),
                event_id=f"{gpu.uuid}:{second}",
                host=gpu.host,
                gpu_index=gpu.index,
                utilization=int(rng.random() * 1_001) / 1_000,
                mem_used_mb=int(rng.random() * _MEMORY_MIB),
                mem_total_mb=_MEMORY_MIB,
                power_w=int(rng.random() * 7_000) / 10,
                price_per_hour_usd=PRICE_PER_HOUR_USD,
                name="NVIDIA H100 80GB HBM3",
                uuid=gpu.uuid,
            )


def _usage(rng: random.Random, gpus: list[_Gpu], seconds: int) -> Iterator[TokenUsage]:
    for second in range(seconds):
        moments = sorted(int(rng.random() * 1_000) for _ in range(REQUESTS_PER_SECOND))
        for number, moment in enumerate(moments):
            gpu = gpus[int(rng.random() * GPUS)]
            tenant = int(rng.random() * _TENANTS)
            prompt_tokens = int(rng.random() * 8_000)
            yield TokenUsage(
                ts=_START + timedelta(seconds=second, milliseconds=moment),
                event_id=f"request-{second * REQUESTS_PER_SECOND + number}",
                host=gpu.host,
                model=gpu.model,
                prompt_tokens=prompt_tokens,
                completion_tokens=int(rng.random() * 800),
                latency_ms=int(rng.random() * 9_000),
                gpu_index=gpu.index,
                gpu_uuid=gpu.uuid,
                cached_prompt_tokens=int(rng.random() * prompt_tokens),
                tenant=f"tenant-{tenant}",
                team=f"team-{tenant % _TEAMS}",
            )


def _write(path: Path, events: Iterator[Event]) -> int:
    written = 0
    with path.open("wb") as file:
        for event in events:
            file.write(encode(event) + b"\n")
            written += 1
    return written
