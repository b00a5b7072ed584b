"""Runs the fault: an engine and a gateway at work, strikes, recoveries; then the books."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drill.entry import Entry
from drill.load import Load
from drill.service import Service
from drill.site import Site
from drill.sources.books import Book, Stored, Window, books
from drill.sources.collector import Collector
from drill.sources.fault import Part, SourcesFault
from drill.sources.lives import Engine
from drill.sources.record import Amounts, Life
from lab.waiting import until

# lab/workload/plan.py has the ports of the lab's own engines.
_PORT = 18100
_MOMENT_SECONDS = (1.5, 4.0)
# How long an engine stays away, and a second part is struck after the first.
_AWAY_SECONDS = (0.0, 3.0)
_LOOK_SECONDS = 180
# What was seen counts as lost when none of it has turned up for this long.
_PATIENCE_SECONDS = 60
_LATE_SECONDS = 5
# The collector asks again once it has written down what it saw. So after two looks the first is safe.
_SAFE_LOOKS = 2


@dataclass(frozen=True)
class SourcesEntry(Entry):
    """`sent` and `stored` are tokens; `lost` and `duplicates` count cached tokens, requests and calls too.

    `unseen` are tokens of an engine that was killed before anybody asked for them.
    """

    unit = "tokens"

    struck: str
    unseen: int
    seen_amounts: dict[str, int]
    stored_amounts: dict[str, int]
    calls_confirmed: int
    calls_stored: int

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, is there twice or was refused."""
        return super().passed and self.dead_lettered == 0


@dataclass
class _Strike:
    at: datetime
    parts: tuple[Part, ...]
    recovered_seconds: float
    unseen: Amounts
    window: Window


def drill(
    site: Site, fault: SourcesFault, seed: int, struck: Callable[[int], None]
) -> Sequence[SourcesEntry]:
    """The entries, one for each strike; `struck` is told their number. Raises LabError."""
    begun = time.time()
    run = f"drill-{fault.name}-{datetime.fromtimestamp(begun, UTC):%Y%m%dT%H%M%S}"
    folder = _empty(site.settings.root / "build" / fault.name)
    engine = Engine(str(site.settings.host_address), _PORT, folder, f"{seed}/{fault.name}")
    with _at_work(site, run, engine, folder) as drilled, drilled.gateway(f"{seed}/calls") as gateway:
        strikes = _strikes(drilled, gateway, fault, random.Random(f"{seed}/{fault.name}"), struck)
        lives = engine.lives
        windows = [strike.window for strike in strikes]
        kept = _settled(lambda: _stored(site, folder, run, begun), windows, lives)
    made = books(windows, lives, kept)
    return [_entry(fault.name, strike, book) for strike, book in zip(strikes, made, strict=True)]


@contextmanager
def _at_work(site: Site, run: str, engine: Engine, folder: Path) -> Iterator[_Drilled]:
    """An engine and its collector, until the end of the block. What the collector said is kept."""
    collector = Collector.of(site)
    try:
        engine.start()
        with collector.running(site, run, engine.address):
            try:
                yield _Drilled(site, engine, collector)
            finally:
                (folder / "collector.log").write_bytes(collector.log())
    finally:
        engine.remove()


def _strikes(
    drilled: _Drilled, gateway: Load, fault: SourcesFault, draw: random.Random, struck: Callable[[int], None]
) -> list[_Strike]:
    """All of them; in the end nothing is under way that the engine or the gateway has told."""
    drilled.await_looks()
    strikes: list[_Strike] = []
    begin_ms = 0
    for number, parts in enumerate(fault.order(draw), 1):
        time.sleep(draw.uniform(*_MOMENT_SECONDS))
        at, moment = datetime.now(UTC), time.monotonic()
        unseen, away_seconds = drilled.strike(parts, draw)
        recovered_seconds = time.monotonic() - moment - away_seconds
        if number == fault.times:
            gateway.stop()
            drilled.engine.drain()
        window = Window(begin_ms, frozenset(gateway.take().events))
        strikes.append(_Strike(at, parts, recovered_seconds, unseen, window))
        begin_ms = drilled.engine.life.looks[-1].at_ms
        struck(number)
    return strikes


class _Drilled:
    """What is struck, and how each part comes back."""

    def __init__(self, site: Site, engine: Engine, collector: Collector) -> None:
        self.engine = engine
        self._site = site
        self._collector = collector

    def gateway(self, seed: str) -> AbstractContextManager[Load]:
        """Report calls to the collector until the end of the block."""
        return self._collector.gateway(self._site, seed)

    def strike(self, parts: tuple[Part, ...], draw: random.Random) -> tuple[Amounts, float]:
        """Strike, and wait until all goes on; returns what nobody saw, and how many seconds we waited."""
        services: dict[Part, Service] = {"broker": self._site.broker, "collector": self._collector}
        started = {part: services[part].started_at() for part in parts if part in services}
        unseen, away_seconds = Amounts(), 0.0
        for number, part in enumerate(parts):
            if number:
                pause_seconds = draw.uniform(*_AWAY_SECONDS)
                time.sleep(pause_seconds)
                away_seconds += pause_seconds
            if part in services:
                services[part].kill()
                continue
            if part == "engine":
                self.engine.kill()
            else:
                self.engine.drain()
            unseen = self.engine.life.unseen
            pause_seconds = draw.uniform(*_AWAY_SECONDS)
            time.sleep(pause_seconds)
            away_seconds += pause_seconds
            self.engine.start()
        for part, started_before in started.items():
            self._site.await_restart(services[part], started_before)
        self.await_looks()
        if "broker" in parts:
            self._site.await_storing()
        return unseen, away_seconds

    def await_looks(self) -> None:
        """Wait until what the engine showed lately is written down."""
        before = len(self.engine.life.looks)
        until(
            lambda: len(self.engine.life.looks) >= before + _SAFE_LOOKS,
            "the collector did not look at the engine",
            _LOOK_SECONDS,
            "see `docker logs` of drill-collector on producers-1",
        )


def _settled(count: Callable[[], Stored], windows: Sequence[Window], lives: Sequence[Life]) -> Stored:
    """What the store has, once it has all that was seen, or no more of it turns up."""
    missing: int | None = None
    last_found = time.monotonic()
    while True:
        still_missing = sum(book.lost for book in books(windows, lives, count()))
        if missing is None or still_missing < missing:
            missing, last_found = still_missing, time.monotonic()
        if not missing or time.monotonic() - last_found > _PATIENCE_SECONDS:
            break
    # What comes twice may come late.
    time.sleep(_LATE_SECONDS)
    return count()


def _stored(site: Site, folder: Path, run: str, since: float) -> Stored:
    """What the store has now. It is also left in a file, for whoever looks into a failure."""
    lines = site.ask(site.processor, "list_collected", run, str(since))
    (folder / "stored.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return Stored.read(lines)


def _entry(fault: str, strike: _Strike, book: Book) -> SourcesEntry:
    return SourcesEntry(
        fault=fault,
        at=strike.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        sent=book.seen.tokens,
        stored=book.stored.tokens,
        dead_lettered=book.dead_lettered,
        lost=book.lost,
        duplicates=book.duplicates,
        recovered_s=round(strike.recovered_seconds, 1),
        struck=", then ".join(strike.parts),
        unseen=strike.unseen.tokens,
        seen_amounts=book.seen._asdict(),
        stored_amounts=book.stored._asdict(),
        calls_confirmed=book.confirmed,
        calls_stored=book.calls_stored,
    )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
