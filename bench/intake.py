"""How many requests a second the intake takes on one core, each answered when Kafka has its event."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml

from bench.errors import BenchError
from bench.events import Topics
from bench.results import RUNS, Note, Result, compare, percentile
from lab.ports import free_port
from lab.workload.gateway import record
from testing.broker import Broker
from testing.processes import Process

_TOKEN = "bench-token-of-the-intake"
_CLIENTS = 16
_REQUESTS = 4_000
_WARM_UP = 500
_CORE = 0


class Measured(NamedTuple):
    """Requests a second, and the time in ms within which 99 of 100 were answered."""

    rate: float
    p99_ms: float


def intake(broker: Broker, folder: Path, note: Note) -> list[Result]:
    """The collector, in turns with a FastAPI application that parses the same body and answers at once."""
    topics = Topics.named("intake")
    broker.make_topics(topics)
    starts: dict[str, Callable[[Path, int], Process]] = {
        "intake": lambda place, port: _collector(place, port, broker, topics),
        "floor": _floor,
    }
    runs: dict[str, list[Measured]] = {name: [] for name in starts}
    for number in range(1, RUNS + 1):
        for name, start in starts.items():
            note(f"run {number} of {RUNS}: {name}, {_REQUESTS:,} requests of {_CLIENTS} clients")
            place, port = folder / f"{name}-{number}", free_port()
            place.mkdir()
            with start(place, port) as process:
                url = f"http://127.0.0.1:{port}"
                process.wait_for(partial(_answers, url), "it listens")
                with _off_the_core():
                    asyncio.run(_send(url, _WARM_UP, f"warm-{number}"))
                    runs[name].append(asyncio.run(_send(url, _REQUESTS, str(number))))
    return [
        compare(name, unit, [run[index] for run in runs["intake"]], [run[index] for run in runs["floor"]])
        for index, (name, unit) in enumerate(
            [("intake-rate-vs-bare-app", "requests a second"), ("intake-p99-vs-bare-app", "ms")]
        )
    ]


def _collector(place: Path, port: int, broker: Broker, topics: Topics) -> Process:
    token = place / "token"
    token.write_text(_TOKEN)
    sources = place / "sources.yml"
    content = {
        "intake": {"port": port, "address": "127.0.0.1", "token_file": str(token)},
        "sources": [{"name": "gateway", "type": "litellm"}],
    }
    sources.write_text(yaml.safe_dump(content))
    settings = {
        "KAFKA_BOOTSTRAP": broker.bootstrap,
        "TOPIC_METRIC": topics.metric,
        "TOPIC_TOKEN": topics.token,
        "COLLECT_STATE_DIR": str(place / "state"),
        "HEALTH_FILE": str(place / "health"),
    }
    command = [sys.executable, "-m", "gpu_token_producers", "collect", str(sources)]
    return Process("intake", _on_one_core(command), place, settings)


def _floor(place: Path, port: int) -> Process:
    return Process("floor", _on_one_core([sys.executable, "-m", "bench.bare_app", str(port)]), place)


def _on_one_core(command: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(_CORE), *command]


@contextmanager
def _off_the_core() -> Iterator[None]:
    """Leave the core to what is measured, if there is another."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores - {_CORE} or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False


async def _send(url: str, requests: int, run: str) -> Measured:
    """Each client sends one request after the other."""
    bodies = [_body(f"{run}-{number}") for number in range(requests)]
    took_ms: list[float] = []

    async def client(session: httpx.AsyncClient) -> None:
        while bodies:
            body = bodies.pop()
            begun = time.monotonic()
            answer = await session.post("/v1/litellm", content=body)
            took_ms.append((time.monotonic() - begun) * 1000)
            if answer.status_code != 200:
                raise BenchError(f"the intake answers {answer.status_code}: {answer.text[:200]}")

    headers = {"authorization": f"Bearer {_TOKEN}", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as session:
        begun = time.monotonic()
        await asyncio.gather(*(client(session) for _ in range(_CLIENTS)))
        seconds = time.monotonic() - begun
    return Measured(requests / seconds, percentile(took_ms, 0.99))


def _body(number: str) -> bytes:
    call = record(
        model="llama",
        team="search",
        api_base="http://engine:8000",
        prompt=1000,
        cached=500,
        completion=100,
        ended=time.time(),
        seconds=1.5,
    )
    return json.dumps(call | {"id": number}).encode()
