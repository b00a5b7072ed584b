"""Sends numbered events as the producers do, some of them poison, and names each.

Prints `event N` or `poison N` for each that the buffer has taken. SIGTERM ends it in order. The
number stands in the event itself (`prompt_tokens`, `mem_used_mb`), whether or not it has an id,
and in a header of poison.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any

from confluent_kafka import Producer
from gpu_token_contracts import GpuMetric, TokenUsage, encode, metric_key, usage_key
from gpu_token_contracts.login import kafka_security_in
from gpu_token_producers.sender import kafka_config

Fields = dict[str, Any]
Headers = dict[str, str | bytes | None]

BUFFER_EVENTS = 100_000
FLUSH_SECONDS = 180
# How often the script sends what is due, and prints.
TICK_SECONDS = 0.02

# Changes to an event that its topic must refuse; a change to None leaves the field out.
CHANGES: dict[str, Fields] = {
    "wrong type": {"gpu_index": "zero"},
    "negative": {"gpu_index": -1},
    "absurd": {"gpu_index": 10**15},
    "2 MB": {"note": "x" * 2_000_000},
    "past": {"ts": "1999-12-31T23:59:59Z"},
    "future": {"ts": "2099-12-31T23:59:59Z"},
    "missing field": {"ts": None},
    "unknown version": {"schema_version": 2},
}
# Values that are not events at all.
VALUES: dict[str, Callable[[bytes], bytes | None]] = {
    "invalid UTF-8": lambda value: value.replace(b"drill", b"\xff\xfe"),
    "invalid JSON": lambda value: value[:-1],
    "NaN": lambda value: value[:-1] + b',"gpu_index":NaN}',
    "tombstone": lambda _: None,
}
KINDS = (*CHANGES, *VALUES)


def event(run: str, number: int) -> TokenUsage | GpuMetric:
    """Every fourth is a GPU metric; every third has no id of its own and is known by its position."""
    ts = datetime.now(UTC)
    event_id = f"{run}:{number}" if number % 3 else None
    if number % 4:
        return TokenUsage(
            ts=ts,
            event_id=event_id,
            host=run,
            model="drill",
            prompt_tokens=number,
            completion_tokens=1,
            latency_ms=1,
            gpu_index=number % 8,
        )
    return GpuMetric(
        ts=ts,
        event_id=event_id,
        host=run,
        name="drill",
        gpu_index=number % 8,
        utilization=0.5,
        mem_used_mb=number,
        mem_total_mb=16_777_216,
        power_w=100,
    )


def poison(value: bytes, kind: str) -> bytes | None:
    """An event's bytes, made invalid in one way."""
    if kind in VALUES:
        return VALUES[kind](value)
    fields: Fields = json.loads(value) | CHANGES[kind]
    return json.dumps({name: field for name, field in fields.items() if field is not None}).encode()


class NumberedEvents:
    """One run of numbered events."""

    def __init__(self, run: str, poison_share: float, seed: int) -> None:
        self._run = run
        self._poison_share = poison_share
        self._draw = random.Random(seed)
        self._kinds = cycle(KINDS)
        self._numbers = count(1)
        config = kafka_config(os.environ["KAFKA_BOOTSTRAP"], BUFFER_EVENTS)
        self._producer = Producer({**config, **kafka_security_in(os.environ)})
        self._metrics, self._usage = os.environ["TOPIC_METRIC"], os.environ["TOPIC_TOKEN"]
        self.sent = 0
        self.stopped = False

    def stop(self, *_: object) -> None:
        """Send no more."""
        self.stopped = True

    def send_one(self) -> None:
        """Send the next event and name it."""
        number = next(self._numbers)
        made = event(self._run, number)
        if isinstance(made, GpuMetric):
            topic, key = self._metrics, metric_key(made)
        else:
            topic, key = self._usage, usage_key(made)
        value: bytes | None = encode(made)
        spoiled = self._draw.random() < self._poison_share
        if spoiled:
            value = poison(encode(made), next(self._kinds))
        headers: Headers = {"drill": f"{self._run}:{number}"} if spoiled else {}
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers)
                break
            except BufferError:
                self._producer.poll(0.1)
        self.sent += 1
        print("poison" if spoiled else "event", number)

    def serve(self) -> None:
        """Handle delivery reports, and tell the drill what was sent."""
        self._producer.poll(0)
        sys.stdout.flush()

    def finish(self) -> None:
        """Wait for the last deliveries."""
        self._producer.flush(FLUSH_SECONDS)
        sys.stdout.flush()


def main() -> None:
    """Send until the count is reached or a stop is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--events", type=float, default=float("inf"))
    parser.add_argument("--poison-share", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    events = NumberedEvents(options.run, options.poison_share, options.seed)
    signal.signal(signal.SIGTERM, events.stop)
    begun = time.monotonic()
    while not events.stopped and events.sent < options.events:
        due = min(options.events, (time.monotonic() - begun) * options.per_second)
        while events.sent < due and not events.stopped:
            events.send_one()
        events.serve()
        time.sleep(TICK_SECONDS)
    events.finish()


if __name__ == "__main__":
    main()
