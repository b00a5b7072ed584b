"""From Kafka to the store: the processor and its peers, one after the other, run by run."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench import systems
from bench.events import Event, Topics, events, send, traces
from bench.results import RUNS, Note, Result, compare_runs, rate
from bench.store import WatchedStore
from testing.broker import Broker
from testing.processes import Process, Used
from testing.store import DATABASE

_MILLION = 1_000_000
# Share of the data set that is stored before the clock starts, so that the connector's code is compiled.
_WARM_UP_SHARE = 0.2
# Share of a run's events that Quix Streams gets: its upserts take the stand-in many times as long as inserts.
_QUIX_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one system, in _UNITS."""

    cpu: float
    memory: float
    throughput: float


_UNITS = {"cpu": "CPU seconds per million events", "memory": "MiB at most", "throughput": "events a second"}


@dataclass(frozen=True, slots=True)
class Load:
    """What one run stores: first the warm-up, then what is measured."""

    warm_up: Sequence[Event]
    measured: Sequence[Event]

    def part(self, share: float) -> "Load":
        """The warm-up and the measured events, each from its beginning."""
        return Load(
            self.warm_up[: round(len(self.warm_up) * share)],
            self.measured[: round(len(self.measured) * share)],
        )


def loads(folder: Path, count: int) -> list[Load]:
    """The data set of `count` events, a share for each run, and the warm-up that all have in common."""
    stream = events(traces(folder))
    warm_up = list(islice(stream, round(count * _WARM_UP_SHARE)))
    return [Load(warm_up, list(islice(stream, count // RUNS))) for _ in range(RUNS)]


def ingest(broker: Broker, folder: Path, count: int, peers: Sequence[str], note: Note) -> list[Result]:
    """The processor compared with each of `peers`."""
    outcomes: dict[str, list[Measured]] = {name: [] for name in ("processor", *peers)}
    for number, load in enumerate(loads(folder, count), start=1):
        for name, measured in outcomes.items():
            note(f"run {number} of {RUNS}: {name}")
            place = folder / f"{name}-{number}"
            place.mkdir()
            measured.append(_MEASURES[name](broker, place, load))
    ours = outcomes.pop("processor")
    return [result for name, theirs in outcomes.items() for result in _results(name, ours, theirs)]


def _results(name: str, ours: Sequence[Measured], theirs: Sequence[Measured]) -> list[Result]:
    return [compare_runs(f"{what}-vs-{name}", _UNITS[what], what, ours, theirs) for what in _COMPARED[name]]


def _storing(start: systems.Start, share: float = 1.0) -> Callable[[Broker, Path, Load], Measured]:
    def measure(broker: Broker, folder: Path, load: Load) -> Measured:
        load = load.part(share)
        topics = Topics.named(folder.name)
        broker.make_topics(topics)
        send(broker.bootstrap, topics, load.warm_up)
        with (
            WatchedStore(folder, indexes=False) as store,
            start(broker.bootstrap, topics, store, folder) as process,
        ):
            (cpu,), throughput = once_warm(broker.bootstrap, topics, store, process, load, process.used)
            return Measured(cpu, process.used().peak_mib, throughput)

    return measure


def once_warm(
    bootstrap: str,
    topics: Topics,
    store: WatchedStore,
    writer: Process,
    load: Load,
    *uses: Callable[[], Used],
) -> tuple[list[float], float]:
    """CPU seconds per million events by each of `uses`, and events a second, after the warm-up was sent."""
    store.watch(load.warm_up, writer)
    with writer.paused():
        send(bootstrap, topics, load.measured)
    before = [used().cpu_seconds for used in uses]
    samples = store.watch(load.measured, writer)
    after = [used().cpu_seconds for used in uses]
    store.check(len(load.warm_up) + len(load.measured), writer)
    count = len(load.measured)
    return [(end - start) / count * _MILLION for start, end in zip(before, after, strict=True)], rate(samples)


def _floor(broker: Broker, folder: Path, load: Load) -> Measured:
    topics = Topics.named(folder.name)
    broker.make_topics(topics)
    send(broker.bootstrap, topics, load.warm_up)
    with Process(
        "floor", [sys.executable, "-m", "bench.floor", broker.bootstrap, *topics], folder
    ) as process:

        def encoded(count: int) -> Callable[[], bool]:
            return lambda: process.output().split()[-1:] == [str(count)]

        process.wait_for(encoded(len(load.warm_up)), "the warm-up is encoded")
        with process.paused():
            send(broker.bootstrap, topics, load.measured)
        before = process.used()
        process.wait_for(encoded(len(load.warm_up) + len(load.measured)), "everything is encoded")
        after = process.used()
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    return Measured(
        cpu_seconds / len(load.measured) * _MILLION, after.peak_mib, len(load.measured) / cpu_seconds
    )


def _bulk_loop(broker: Broker, folder: Path, load: Load) -> Measured:
    topics = Topics.named(folder.name)
    broker.make_topics(topics)
    send(broker.bootstrap, topics, [*load.warm_up, *load.measured])
    count = len(load.warm_up) + len(load.measured)
    with WatchedStore(folder, indexes=False) as store:
        url = f"{store.url}&{systems.DURABLE}"
        arguments = [broker.bootstrap, *topics, url, DATABASE, str(count)]
        command = [sys.executable, "-m", "bench.bulk_loop", *arguments]
        with Process("bulk-loop", command, folder) as process:
            store.watch(load.warm_up, process)
            samples = store.watch(load.measured, process)
            after = process.used()
            store.check(count, process)
    return Measured(0.0, after.peak_mib, rate(samples))


_MEASURES: dict[str, Callable[[Broker, Path, Load], Measured]] = {
    "processor": _storing(systems.processor),
    "connector": _storing(systems.connector),
    "quix": _storing(systems.quix, _QUIX_SHARE),
    "floor": _floor,
    "bulk-loop": _bulk_loop,
}
# What each peer is compared in.
_COMPARED = {
    "connector": ("cpu", "memory"),
    "quix": ("cpu", "memory"),
    "floor": ("cpu",),
    "bulk-loop": ("throughput",),
}
PEERS = tuple(_COMPARED)
