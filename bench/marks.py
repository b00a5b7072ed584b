"""What marks of hours cost the data path."""

from pathlib import Path

from bench import systems
from bench.events import Topics, send
from bench.ingest import loads, once_warm
from bench.results import RUNS, Note, Result, compare
from bench.store import WatchedStore
from testing.broker import Broker


def marks(broker: Broker, folder: Path, count: int, note: Note) -> list[Result]:
    """The processor with marks and without, in turns."""
    starts = {"marked": systems.processor, "unmarked": systems.unmarked}
    cpu: dict[str, list[float]] = {name: [] for name in starts}
    throughput: dict[str, list[float]] = {name: [] for name in starts}
    for number, load in enumerate(loads(folder, count), start=1):
        for name, start in starts.items():
            note(f"run {number} of {RUNS}: {name}")
            place = folder / f"{name}-{number}"
            place.mkdir()
            topics = Topics.named(place.name)
            broker.make_topics(topics)
            send(broker.bootstrap, topics, load.warm_up)
            with (
                WatchedStore(place, indexes=False) as store,
                start(broker.bootstrap, topics, store, place) as process,
            ):
                (used,), rate = once_warm(broker.bootstrap, topics, store, process, load, process.used)
            cpu[name].append(used)
            throughput[name].append(rate)
    return [
        compare("cpu-marked-vs-unmarked", "CPU seconds per million events", cpu["marked"], cpu["unmarked"]),
        compare(
            "throughput-marked-vs-unmarked", "events a second", throughput["marked"], throughput["unmarked"]
        ),
    ]
