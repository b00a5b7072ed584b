"""The books of `sources-killed` see what is lost and what counts twice; its engine tells what it showed."""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drill.accounts import Sent
from drill.site import Site
from drill.sources import run
from drill.sources.books import Book, Stored, Window, books
from drill.sources.fault import SourcesFault
from drill.sources.lives import Engine
from drill.sources.record import Amounts, Life, Look, amounts_shown
from lab.errors import LabError
from lab.workload.gateway import Gateway, record
from testing.waiting import until


def amounts(requests: int) -> Amounts:
    """What so many requests of the same kind add up to."""
    return Amounts(100 * requests, 10 * requests, 40 * requests, requests)


# The first look shows the past: 5 requests. The first life is killed with 2 unseen, the second drained.
LIVES = [
    Life([Look(1_000, amounts(5)), Look(2_000, amounts(7)), Look(3_000, amounts(10))], amounts(12)),
    Life([Look(5_000, amounts(1)), Look(6_000, amounts(4))], amounts(4)),
]
WINDOWS = [Window(0, frozenset({1, 2})), Window(3_000, frozenset({3}))]
USAGE = [(2_004, 2), (3_004, 3), (5_004, 1), (6_004, 3)]


def lines(
    usage: list[tuple[int, int]] | None = None, calls: tuple[int, ...] = (1, 2, 3), ids: str = "abcdefgh"
) -> list[str]:
    """What the store's script prints."""
    notes: list[dict[str, Any]] = [
        {"what": "usage", "id": f"interval-{ids[index]}", "at_ms": at_ms, "amounts": amounts(requests)}
        for index, (at_ms, requests) in enumerate(USAGE if usage is None else usage)
    ]
    notes += [
        {"what": "call", "id": f"call-{index}", "at_ms": 2_500, "number": call}
        for index, call in enumerate(calls)
    ]
    return [json.dumps(note) for note in notes]


def of(printed: list[str]) -> list[Book]:
    return books(WINDOWS, LIVES, Stored.read(printed))


def test_what_was_seen_and_confirmed_is_stored_once() -> None:
    first, second = of(lines())
    assert first == Book(amounts(2), amounts(2), 2, 2, 0, lost=0, duplicates=0)
    assert second == Book(amounts(7), amounts(7), 1, 1, 0, lost=0, duplicates=0)
    assert LIVES[0].unseen == amounts(2)
    assert LIVES[1].unseen == amounts(0)


def test_a_look_that_was_missed_makes_the_next_interval_longer() -> None:
    assert [(book.lost, book.duplicates) for book in of(lines([(2_004, 2), (3_004, 3), (6_004, 4)]))] == [
        (0, 0),
        (0, 0),
    ]


@pytest.mark.parametrize(
    ("printed", "lost", "duplicates"),
    [
        # An interval's event is missing, or is there under two ids, or is there twice.
        (lines(USAGE[:-1]), [0, sum(amounts(3))], [0, 0]),
        (lines([*USAGE, USAGE[0]]), [0, 0], [sum(amounts(2)), 0]),
        (lines([*USAGE, USAGE[0]], ids="abcda"), [0, 0], [sum(amounts(2)) + 1, 0]),
        # A look is taken again after a restart of the collector; the past is counted; the new life is not.
        (lines([*USAGE[:-1], (6_004, 4)]), [0, 0], [0, sum(amounts(1))]),
        (lines([(1_004, 5), *USAGE]), [0, 0], [sum(amounts(5)), 0]),
        (lines([*USAGE[:2], (6_004, 3)]), [0, sum(amounts(1))], [0, 0]),
        # Two events under one id.
        (lines(ids="aacd"), [0, 0], [0, 1]),
        # A call is missing, is there twice, was never confirmed.
        (lines(calls=(1, 3)), [1, 0], [0, 0]),
        (lines(calls=(1, 2, 3, 3)), [0, 0], [0, 1]),
        (lines(calls=(1, 2, 3, 9)), [0, 0], [0, 1]),
        ([], [sum(amounts(2)) + 2, sum(amounts(7)) + 1], [0, 0]),
    ],
)
def test_what_is_lost_or_doubled_is_seen_where_it_belongs(
    printed: list[str], lost: list[int], duplicates: list[int]
) -> None:
    made = of(printed)
    assert [book.lost for book in made] == lost
    assert [book.duplicates for book in made] == duplicates


def test_one_token_is_seen() -> None:
    printed = lines()
    for field in range(4):
        for difference in (-1, 1):
            note = json.loads(printed[1])
            note["amounts"][field] += difference
            book = of([printed[0], json.dumps(note), *printed[2:]])[1]
            assert (book.lost, book.duplicates) == ((1, 0) if difference < 0 else (0, 1))


def test_an_event_without_an_id_counts_as_doubled_and_a_refused_one_is_told() -> None:
    note = json.loads(lines()[0]) | {"id": None}
    refused = json.dumps({"what": "refused", "at_ms": 2_100, "reason": "conflict"})
    first, _ = of([json.dumps(note), *lines()[1:], refused])
    assert (first.duplicates, first.dead_lettered) == (1, 1)


def test_the_order_follows_from_the_seed_and_has_at_least_twenty_kills() -> None:
    fault = SourcesFault("sources-killed")
    orders = [fault.order(random.Random(seed)) for seed in ("1", "1", "2")]
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == fault.times
    assert sum(map(len, orders[0])) >= 20
    assert not [parts for parts in orders[0] if "collector" in parts and "engine" in parts]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine("127.0.0.1", free_port(), tmp_path, "1")
    try:
        yield engine
    finally:
        engine.remove()


def look(engine: Engine) -> Amounts:
    with urllib.request.urlopen(f"http://{engine.address}/metrics", timeout=10) as answer:
        return amounts_shown(answer.read().decode())


def test_a_killed_engine_has_told_what_it_showed_and_what_nobody_saw(engine: Engine) -> None:
    engine.start()
    time.sleep(0.3)
    seen = [look(engine), look(engine)]
    time.sleep(0.3)
    engine.kill()
    assert [each.amounts for each in engine.life.looks] == seen
    assert engine.life.unseen.requests > 0
    with pytest.raises(LabError, match="has ended by itself"):
        engine.kill()
    engine.start()
    again = look(engine)
    assert again.requests <= seen[0].requests + 10
    # It notes a look once it has answered.
    until(lambda: [len(life.looks) for life in engine.lives] == [2, 1], "the look is noted")


def test_a_drained_engine_waits_to_be_seen(engine: Engine) -> None:
    engine.start()
    looked: list[Amounts] = []
    timer = threading.Timer(1, lambda: looked.append(look(engine)))
    timer.start()
    engine.drain()
    timer.join()
    assert [each.amounts for each in engine.life.looks] == looked
    assert not any(engine.life.unseen)


class PlayedCollector:
    """Looks at the engine, and keeps a line for each event; `spoils` changes an event's line on its way."""

    def __init__(self, spoils: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
        self.kept: list[str] = []
        self._spoils = spoils
        self._end = threading.Event()
        self._starts = itertools.count()
        self._calls = itertools.count(1)

    @contextmanager
    def running(self, _site: object, _run: str, address: str) -> Iterator[None]:
        thread = threading.Thread(target=self._read, args=(address,))
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    @contextmanager
    def gateway(self, _site: object, _seed: str) -> Iterator[PlayedCollector]:
        yield self

    def take(self) -> Sent:
        call = next(self._calls)
        self._keep({"what": "call", "id": f"call-{call}", "at_ms": 0, "number": call})
        return Sent({call})

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def started_at(self) -> str:
        return str(next(self._starts))

    def log(self) -> bytes:
        return b""

    def _keep(self, note: dict[str, Any]) -> None:
        self.kept += [json.dumps(each) for each in self._spoils(note)]

    def _read(self, address: str) -> None:
        before: Amounts | None = None
        while not self._end.wait(0.1):
            try:
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                    now = amounts_shown(answer.read().decode())
            except OSError:
                continue
            at_ms = time.time_ns() // 1_000_000
            if before is not None:
                gain = now.minus(before) if now.requests >= before.requests else now
                self._keep({"what": "usage", "id": f"{at_ms}", "at_ms": at_ms, "amounts": gain})
            before = now


def drilled(
    collector: PlayedCollector, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[run.SourcesEntry]:
    broker = SimpleNamespace(started_at=lambda: "then", kill=lambda: None)
    site = SimpleNamespace(
        settings=SimpleNamespace(root=folder, host_address="127.0.0.1"),
        broker=broker,
        processor=None,
        ask=lambda *_: collector.kept,
        await_restart=lambda *_: None,
        await_storing=lambda: None,
    )
    monkeypatch.setattr(run, "_PORT", free_port())
    monkeypatch.setattr(run, "_MOMENT_SECONDS", (0.2, 0.4))
    monkeypatch.setattr(run, "_AWAY_SECONDS", (0, 0))
    monkeypatch.setattr(run, "_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(run, "_LATE_SECONDS", 0)
    monkeypatch.setattr(run.Collector, "of", lambda _: collector)
    fault = SourcesFault("played", ((("broker", "engine"), 1), (("engine drained",), 1), (("collector",), 1)))
    struck: list[int] = []
    entries = list(run.drill(cast(Site, site), fault, 1, struck.append))
    assert struck == [1, 2, 3]
    return entries


def test_the_drill_passes_where_each_token_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = drilled(PlayedCollector(lambda note: [note]), tmp_path, monkeypatch)
    assert {entry.struck for entry in entries} == {"broker, then engine", "engine drained", "collector"}
    assert all(entry.passed and entry.sent == entry.stored > 0 for entry in entries)
    assert all(entry.calls_confirmed == entry.calls_stored == 1 for entry in entries)
    assert {entry.unseen for entry in entries if "drained" in entry.struck} == {0}


@pytest.mark.parametrize("copies", [0, 2])
def test_the_drill_fails_where_an_event_is_lost_or_doubled(
    copies: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled: list[dict[str, Any]] = []

    def spoil_one(note: dict[str, Any]) -> list[dict[str, Any]]:
        if spoiled or note["what"] == "call" or not any(note["amounts"]):
            return [note]
        spoiled.append(note)
        return [note] * copies

    entries = drilled(PlayedCollector(spoil_one), tmp_path, monkeypatch)
    failed = [entry for entry in entries if not entry.passed]
    assert len(failed) == 1
    assert (failed[0].lost > 0, failed[0].duplicates > 0) == ((True, False) if not copies else (False, True))


def test_a_gateway_keeps_what_is_not_confirmed_and_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def send(_url: str, _token: str, batch: list[dict[str, Any]]) -> None:
        if not sent:
            sent.append(0)
            raise ConnectionResetError("cut off")
        sent.append(len(batch))

    monkeypatch.setattr("lab.workload.gateway._send", send)
    gateway = Gateway(lambda: ("http://intake", "token"))
    calls = [
        record(model="m", team="t", api_base="a", prompt=n, cached=0, completion=1, ended=1, seconds=1)
        for n in range(3)
    ]
    for call in calls:
        gateway.add(call)
    assert (gateway.flush(), gateway.waiting) == ([], 3)
    assert (gateway.flush(), gateway.waiting) == (calls, 0)
