"""What it costs to read an engine's counters: the collector, and the parser alone."""

import sys
from pathlib import Path

from bench.events import Topics
from bench.exposition import target
from bench.results import RUNS, Note, Result, compare
from testing.broker import Broker
from testing.processes import run

_LOOKS = 30
_MILLION = 1_000_000


def scrape(broker: Broker, folder: Path, note: Note) -> list[Result]:
    """CPU seconds per million series, in turns."""
    topics = Topics.named("scrape")
    broker.make_topics(topics)
    runs: dict[str, list[float]] = {"ours": [], "parser": []}
    with target() as (url, series):
        for number in range(1, RUNS + 1):
            place = folder / f"scrape-{number}"
            place.mkdir()
            more = {"ours": [broker.bootstrap, topics.token, str(place)], "parser": []}
            for name, seconds in runs.items():
                note(f"run {number} of {RUNS}: {name}, {_LOOKS} looks at {series:,} series")
                said = run([sys.executable, "-m", "bench.scraper", name, url, str(_LOOKS), *more[name]])
                seconds.append(float(said.split()[-1]) / (_LOOKS * series) * _MILLION)
    return [compare("scrape-vs-parser", "CPU seconds per million series", runs["ours"], runs["parser"])]
