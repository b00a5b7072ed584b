"""One fault after the other: load, strike, wait until events are stored again, count."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

from drill.accounts import Sent, balance, together
from drill.entry import Entry
from drill.faults import POISON_SHARE, Fault, Flood
from drill.load import Order
from drill.site import Site
from drill.sources import run as sources
from drill.sources.fault import SourcesFault

# What was sent counts as lost when none of it has turned up for this long.
_PATIENCE_SECONDS = 60
_LOOK_SECONDS = 1
# How long the load continues after the last recovery.
_AFTERWARDS_SECONDS = 2
# As fast as the producers' buffer takes them.
_AT_ONCE = 1e9


@dataclass
class _Strike:
    at: datetime
    recovered_seconds: float
    sent: Sent


class Drill:
    """Faults on one site, at moments that follow from the seed."""

    def __init__(self, site: Site, seed: int, struck: Callable[[str, int], None]) -> None:
        self._site = site
        self._seed = seed
        # Called after each strike with the fault's name and the number of strikes so far.
        self._struck = struck

    def run(self, fault: Fault | Flood | SourcesFault) -> Sequence[Entry]:
        """The entries of one fault, one for each strike."""
        if isinstance(fault, SourcesFault):
            return sources.drill(self._site, fault, self._seed, partial(self._struck, fault.name))
        begun = time.time()
        run = f"drill-{fault.name}-{datetime.fromtimestamp(begun, UTC):%Y%m%dT%H%M%S}"
        if isinstance(fault, Flood):
            strikes = self._flood(fault, run, begun)
        else:
            strikes = self._strike(fault, run)
            self._settled(run, begun, together(strike.sent for strike in strikes))
        found = self._site.count(run, begun)
        return [
            Entry(
                fault=fault.name,
                at=strike.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                **asdict(balance(strike.sent, found)),
                recovered_s=round(strike.recovered_seconds, 1),
            )
            for strike in strikes
        ]

    def _strike(self, fault: Fault, run: str) -> list[_Strike]:
        draw = random.Random(f"{self._seed}/{fault.name}")
        order = Order(run, fault.events_per_second, POISON_SHARE, self._seed)
        strikes: list[_Strike] = []
        with self._processors(fault), self._site.load(order) as load:
            self._site.await_storing()
            for number in range(fault.times):
                time.sleep(fault.moment_seconds(draw, number))
                started = {
                    service: service.started_at()
                    for service in (self._site.broker, self._site.store, *self._site.processors)
                }
                at, moment = datetime.now(UTC), time.monotonic()
                service = fault.strike(self._site, draw)
                if fault.restarts:
                    self._site.await_restart(service, started[service])
                self._site.await_storing()
                recovered_seconds = time.monotonic() - moment - fault.outage_seconds
                if number == fault.times - 1:
                    time.sleep(_AFTERWARDS_SECONDS)
                    load.stop()
                strikes.append(_Strike(at, recovered_seconds, load.take()))
                self._struck(fault.name, number + 1)
        return strikes

    def _flood(self, flood: Flood, run: str, begun: float) -> list[_Strike]:
        at = datetime.fromtimestamp(begun, UTC)
        order = Order(run, _AT_ONCE, POISON_SHARE, self._seed, flood.events)
        with self._site.load(order) as load:
            load.finish()
            sent = load.take()
        delivered = time.monotonic()
        self._settled(run, begun, sent)
        self._struck(flood.name, 1)
        return [_Strike(at, time.monotonic() - delivered, sent)]

    def _processors(self, fault: Fault) -> contextlib.AbstractContextManager[None]:
        return self._site.second_processor() if fault.processors > 1 else contextlib.nullcontext()

    def _settled(self, run: str, since: float, sent: Sent) -> None:
        """Wait until all that was sent is found, or no more of it turns up."""
        missing = len(sent.events) + len(sent.poison)
        last_found = time.monotonic()
        while missing and time.monotonic() - last_found < _PATIENCE_SECONDS:
            time.sleep(_LOOK_SECONDS)
            still_missing = balance(sent, self._site.count(run, since)).lost
            if still_missing < missing:
                missing, last_found = still_missing, time.monotonic()
