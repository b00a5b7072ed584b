"""The data set: real traces, repeated as often as needed, as a producer sends them."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer
from gpu_token_contracts import GpuMetric, TokenUsage, encode, metric_key, usage_key
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.replay import ReplayPlan, replay_events
from gpu_token_producers.sender import kafka_config
from gpu_token_producers.synthetic import synthetic_trace
from gpu_token_producers.traces.rows import BrokenRow
from gpu_token_producers.traces.trace import open_trace

from bench.errors import BenchError
from testing.parts import ROOT

_TRACES = ROOT.parent / "shared" / "data"
_NAMES = ("azure-llm-2023-conv.csv", "azure-llm-2023-code.csv")
# More than any run takes: the traces are read no further than needed.
_REPEAT = 10_000
# As large as librdkafka allows: a batch is in the buffer at once.
_BUFFER_KIB = 2_097_151


class Topics(NamedTuple):
    """Where events of either kind go."""

    metric: str
    token: str

    @classmethod
    def named(cls, run: str) -> "Topics":
        """New topics for one run."""
        return cls(f"gpu.metrics.v1.{run}", f"token.usage.v1.{run}")


class Event(NamedTuple):
    """One message; no two are equal."""

    event_id: str
    is_metric: bool
    key: bytes
    value: bytes


def traces(folder: Path) -> list[Path]:
    """The public traces if their files are there, else a seeded one of their shape, made in the folder."""
    found = [_TRACES / name for name in _NAMES if (_TRACES / name).exists()]
    if found:
        return found
    made = folder / "seeded-trace.csv"
    made.write_bytes(synthetic_trace(rows=8819, seed=1).content)
    return [made]


def events(paths: Sequence[Path]) -> Iterator[Event]:
    """Events of the traces in turns, more than any run takes."""
    streams = [_events_of(path) for path in paths]
    while True:
        for stream in streams:
            yield from islice(stream, 1_000)


def send(bootstrap: str, topics: Topics, batch: Sequence[Event]) -> None:
    """Send the events, and wait until all are acknowledged."""
    config = kafka_config(bootstrap, buffer_events=len(batch))
    producer = Producer({**config, "queue.buffering.max.kbytes": _BUFFER_KIB})
    for event in batch:
        topic = topics.metric if event.is_metric else topics.token
        producer.produce(topic, event.value, event.key)
    left = producer.flush(120)
    if left:
        raise BenchError(f"Kafka has not acknowledged {left} of {len(batch)} events within 120 seconds.")


def _events_of(path: Path) -> Iterator[Event]:
    plan = ReplayPlan(
        trace=open_trace(path),
        model=path.stem,
        host="gpu-host-1",
        gpus=load_gpus(BUILT_IN_SEED),
        metrics_interval_seconds=5,
        repeat=_REPEAT,
    )
    for event in replay_events(plan):
        if isinstance(event, GpuMetric):
            yield Event(str(event.event_id), True, metric_key(event), encode(event))
        elif isinstance(event, TokenUsage):
            yield Event(str(event.event_id), False, usage_key(event), encode(event))
        elif isinstance(event, BrokenRow):
            raise BenchError(f"{path.name}, line {event.line}: {event.reason}")
