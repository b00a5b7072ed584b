"""The drill against a site that is played: entries, exit, and one sentence where it cannot run."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from drill import results, run
from drill.accounts import Found, Sent
from drill.entry import Entry
from drill.faults import FAULTS, Fault, Flood, choose
from drill.load import Load, Order
from drill.run import Drill
from drill.service import Service, stored_events
from drill.site import Site
from lab.errors import LabError


class PlayedLoad:
    """Hands out ten events and one poison at each take."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self) -> Sent:
        first = self.taken * 11
        self.taken += 1
        return Sent(set(range(first, first + 10)), {first + 10})

    def stop(self) -> None: ...

    def finish(self) -> None: ...


class PlayedSite:
    """Keeps all that was sent, but for what `forgets` and `doubles` name."""

    def __init__(self, forgets: int = -1, doubles: int = -1) -> None:
        self.events: list[str] = []
        self.broker = self.store = "service"
        self.processors = ["processor"]
        self.forgets, self.doubles = forgets, doubles
        self.current = PlayedLoad()

    @contextmanager
    def load(self, order: Order) -> Iterator[PlayedLoad]:
        self.current = PlayedLoad()
        yield self.current

    @contextmanager
    def second_processor(self) -> Iterator[None]:
        self.events.append("second")
        yield

    def count(self, _run: str, _since: float) -> Found:
        numbers = Counter(
            number for number in range(self.current.taken * 11) if number % 11 < 10 and number != self.forgets
        )
        if self.doubles in numbers:
            numbers[self.doubles] += 1
        return Found(numbers, Counter(range(10, self.current.taken * 11, 11)))

    def await_restart(self, service: object, started_before: object) -> None:
        self.events.append(f"{service} restarted")

    def await_storing(self) -> None:
        self.events.append("storing")


class PlayedService:
    def started_at(self) -> str:
        return "then"

    def __str__(self) -> str:
        return "service"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    monkeypatch.setattr(run, "_PATIENCE_SECONDS", 0)


def drilled(site: PlayedSite, fault: Fault | Flood) -> list[Entry]:
    service = PlayedService()
    site.broker = site.store = cast(Any, service)
    site.processors = cast(Any, [service])
    return Drill(cast(Site, site), 1, lambda *_: None).run(fault)


def strike(site: Site, _: random.Random) -> Service:
    cast(Any, site).events.append("struck")
    return site.broker


def test_an_entry_for_each_strike_with_the_books_of_what_was_sent_around_it() -> None:
    site = PlayedSite()
    entries = drilled(site, Fault("broken", strike, times=3))
    assert [(entry.sent, entry.stored, entry.dead_lettered) for entry in entries] == [(11, 10, 1)] * 3
    assert all(entry.passed and entry.recovered_s >= 0 for entry in entries)
    assert site.events == ["storing"] + ["struck", "service restarted", "storing"] * 3


def test_a_fault_that_restarts_nothing_and_one_of_two_processors() -> None:
    site = PlayedSite()
    drilled(site, Fault("frozen", strike, restarts=False, processors=2))
    assert site.events == ["second", "storing", "struck", "storing"]


def test_a_lost_and_a_doubled_event_fail_the_strike_they_belong_to() -> None:
    entries = drilled(PlayedSite(forgets=12, doubles=3), Fault("broken", strike, times=3))
    assert [(entry.lost, entry.duplicates) for entry in entries] == [(0, 1), (1, 0), (0, 0)]
    assert [entry.passed for entry in entries] == [False, False, True]


def test_a_flood_is_one_entry() -> None:
    (entry,) = drilled(PlayedSite(), Flood("poison"))
    assert (entry.fault, entry.sent, entry.passed) == ("poison", 11, True)


def test_the_moments_follow_from_the_seed() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "processor-killed")
    assert isinstance(fault, Fault)
    moments = [
        [fault.moment_seconds(draw, number) for number in range(fault.times)]
        for draw in (random.Random("1/x"), random.Random("1/x"), random.Random("2/x"))
    ]
    assert moments[0] == moments[1] != moments[2]
    assert len(set(moments[0])) == 20


def test_faults_are_chosen_by_name() -> None:
    assert choose([]) == list(FAULTS)
    assert [fault.name for fault in choose(["poison", "store-killed"])] == ["store-killed", "poison"]
    with pytest.raises(LabError, match='--only is "fire", which is no fault: use one of processor-killed'):
        choose(["fire"])


def test_the_file_has_the_fields_that_others_rely_on(tmp_path: Path) -> None:
    file = tmp_path / "build" / "drill.json"
    results.write(file, drilled(PlayedSite(), Fault("broken", strike)))
    (entry,) = json.loads(file.read_text())
    assert list(entry) == [
        "fault",
        "at",
        "sent",
        "stored",
        "dead_lettered",
        "lost",
        "duplicates",
        "recovered_s",
    ]


def test_the_table_adds_up_the_strikes_of_a_fault() -> None:
    entries = drilled(PlayedSite(forgets=12), Fault("broken", strike, times=3))
    view = results.table(entries)
    assert [list(column.cells) for column in view.columns][:6] == [
        ["broken"],
        ["3"],
        ["33"],
        ["29"],
        ["3"],
        ["1"],
    ]
    assert view.rows[0].style == "red"


def test_stored_events_are_summed_over_collections() -> None:
    metrics = [
        "# HELP gpu_token_events_stored_total Events acknowledged by MongoDB.",
        'gpu_token_events_stored_total{collection="token_usage"} 12.0',
        'gpu_token_events_stored_total{collection="gpu_metrics"} 3.0',
        'gpu_token_events_consumed_total{topic="token.usage.v1"} 99.0',
    ]
    assert stored_events(metrics) == 15


def test_the_load_is_told_what_to_send() -> None:
    order = Order("drill-x", 400, 0.01, 7)
    expected = ["--run=drill-x", "--per-second=400", "--seed=7", "--poison-share=0.01"]
    assert order.arguments() == expected
    assert Order("drill-x", 400, 0.01, 7, 100).arguments() == [*expected, "--events=100"]
    assert Load.CONTAINER == "drill-load"
