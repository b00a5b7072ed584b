"""What is broken, how often, and under which load."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drill.service import Service
from drill.site import Site
from drill.sources.fault import SourcesFault
from lab.errors import LabError

# The processor's consumer may be silent for 300 s (max.poll.interval.ms) before its group gives it up.
FROZEN_SECONDS = 310
AWAY_SECONDS = 120
# Docker waits longer each time before it restarts what ran for less than 10 s.
_FIRST_WAIT_SECONDS = (2.0, 5.0)
_NEXT_WAIT_SECONDS = (10.5, 13.0)
# Above 0 throughout: a fault may strike while a dead letter is under way.
POISON_SHARE = 0.01


@dataclass(frozen=True)
class Fault:
    """`strike` breaks one service, and returns that service once the outage that the drill causes is over."""

    name: str
    strike: Callable[[Site, random.Random], Service]
    times: int = 1
    restarts: bool = True
    outage_seconds: float = 0
    events_per_second: float = 150
    processors: int = 1

    def moment_seconds(self, draw: random.Random, strike: int) -> float:
        """How long to wait before a strike."""
        return draw.uniform(*(_NEXT_WAIT_SECONDS if strike else _FIRST_WAIT_SECONDS))


@dataclass(frozen=True)
class Flood:
    """Nothing is broken but some of the events."""

    name: str
    events: int = 100_000


def _kill(service: Service) -> Service:
    service.kill()
    return service


def _reboot(service: Service) -> Service:
    service.reboot()
    return service


def _without(service: Service, seconds: float, *, end: str, begin: str) -> Service:
    service.docker(end, service.container)
    try:
        time.sleep(seconds)
    finally:
        service.docker(begin, service.container)
    return service


FAULTS: tuple[Fault | Flood | SourcesFault, ...] = (
    Fault("processor-killed", lambda site, _: _kill(site.processor), times=20),
    Fault("broker-killed", lambda site, _: _kill(site.broker), times=5),
    Fault("store-killed", lambda site, _: _kill(site.store), times=5),
    Fault(
        "one-of-two-processors-killed",
        lambda site, draw: _kill(draw.choice(site.processors)),
        times=3,
        processors=2,
    ),
    Fault("kafka-1-rebooted", lambda site, _: _reboot(site.broker)),
    Fault("mongo-1-rebooted", lambda site, _: _reboot(site.store)),
    Fault("processor-1-rebooted", lambda site, _: _reboot(site.processor)),
    Fault(
        "broker-down-for-two-minutes",
        lambda site, _: _without(site.broker, AWAY_SECONDS, end="stop", begin="start"),
        outage_seconds=AWAY_SECONDS,
    ),
    Fault(
        "store-frozen-beyond-max-poll-interval",
        lambda site, _: _without(site.store, FROZEN_SECONDS, end="pause", begin="unpause"),
        restarts=False,
        outage_seconds=FROZEN_SECONDS,
        events_per_second=100,
    ),
    Flood("poison"),
    SourcesFault("sources-killed"),
)


def choose(names: Sequence[str]) -> list[Fault | Flood | SourcesFault]:
    """The faults of these names, in the order in which they are drilled; all if there is no name."""
    known = [fault.name for fault in FAULTS]
    for name in names:
        if name not in known:
            raise LabError(f'--only is "{name}", which is no fault: use one of {", ".join(known)}.')
    return [fault for fault in FAULTS if not names or fault.name in names]
