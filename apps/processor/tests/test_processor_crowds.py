"""Many at once: silent connections, many pages, slow questions. Health and metrics answer all the while."""

import asyncio
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from gpu_token_processor.api.limits import Limits, RateLimit, Rates
from gpu_token_processor.api.questions import Questions, TooManyQuestionsError
from gpu_token_processor.settings import Settings
from processor_fakes import TOPIC_METRIC, metric
from processor_process import Process
from processor_stage import Stage, at
from pymongo import _csot
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from testing.serving import serving

NOBODY = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "MONGO_URL": "mongodb://127.0.0.1:1"}
OPEN = ("/health/live", "/metrics", "/")
TOKEN = "0123456789abcdefghijABCDEFGHIJ"
# 41 questions used to hold up all else: one more than there were threads for everything.
QUESTIONS = 41


def status(url: str, path: str, source: str = "127.0.0.1", headers: dict[str, str] | None = None) -> int:
    """0 if it is hung up."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5, source_address=(source, 0))
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@contextmanager
def silent(url: str, count: int, source: str = "127.0.0.1", sent: bytes = b"") -> Iterator[None]:
    """Connections that send no whole request."""
    host, port = url.removeprefix("http://").split(":")
    with ExitStack() as held:
        for _ in range(count):
            one = socket.create_connection((host, int(port)), timeout=5, source_address=(source, 0))
            held.enter_context(one).sendall(sent)
        time.sleep(0.2)
        yield


@pytest.mark.parametrize("sent", [b"", b"GET /cost HTTP/1.1\r\nHost: "], ids=["nothing", "half"])
def test_silent_connections_of_one_address_shut_nobody_out(sent: bytes) -> None:
    with Process(**NOBODY) as process, silent(process.url, 505, sent=sent):
        for path in OPEN:
            assert status(process.url, path, "127.0.0.2") == 200
            assert status(process.url, path) == 200


def test_silent_connections_of_many_addresses_shut_nobody_out() -> None:
    with Process(**NOBODY) as process, ExitStack() as held:
        for number in range(2, 9):
            held.enter_context(silent(process.url, 90, f"127.0.0.{number}"))
        for path in OPEN:
            assert status(process.url, path) == 200


def test_connections_of_one_address_are_a_setting() -> None:
    with Process(**NOBODY, API_CONNECTIONS_PER_ADDRESS="2") as process:
        host, port = process.url.removeprefix("http://").split(":")
        with ExitStack() as held:
            made = [held.enter_context(socket.create_connection((host, int(port)))) for _ in range(3)]
            made[0].settimeout(5)
            assert made[0].recv(1) == b""
            assert status(process.url, "/health/live") == 200


def forwarded(url: str, addresses: list[str]) -> list[int]:
    return [status(url, "/health/live", headers={"X-Forwarded-For": address}) for address in addresses]


def test_nobody_is_believed_about_an_address_by_default() -> None:
    with Process(**NOBODY, API_REQUESTS_PER_SECOND="2") as process:
        statuses = forwarded(process.url, [f"10.1.1.{number}" for number in range(40)])
        assert statuses.count(429) > 20


def test_a_trusted_proxy_is_believed_about_the_last_address_that_is_not_its_own() -> None:
    with Process(**NOBODY, API_REQUESTS_PER_SECOND="2", API_TRUSTED_PROXIES="127.0.0.0/8") as process:
        viewers = [f"10.1.1.{number}" for number in range(40)]
        assert forwarded(process.url, viewers) == [200] * 40
        invented = [f"10.2.2.{number}, 10.3.3.3, 127.0.0.5" for number in range(40)]
        assert forwarded(process.url, invented).count(429) > 20
        # One customer has all addresses of a /64.
        neighbours = [f"2001:db8::{number:x}" for number in range(1, 41)]
        assert forwarded(process.url, neighbours).count(429) > 20


def test_an_address_that_is_no_trusted_proxy_is_not_believed() -> None:
    with Process(**NOBODY, API_REQUESTS_PER_SECOND="2", API_TRUSTED_PROXIES="10.0.0.0/8") as process:
        statuses = forwarded(process.url, [f"10.1.1.{number}" for number in range(40)])
        assert statuses.count(429) > 20


def test_twelve_pages_of_one_address_are_not_limited() -> None:
    """Each asks five things every two seconds, as the page does."""
    now = 0.0
    settings = Settings(kafka_bootstrap="kafka-1:9092", mongo_url="mongodb://mongo-1")
    limit = RateLimit(settings.api_requests_per_second, lambda: now)
    refused = 0
    for second in range(0, 600, 2):
        now = float(second)
        refused += sum(limit.wait_seconds("one") > 0 for _ in range(12 * 5))
    assert refused == 0


def test_who_has_no_token_uses_up_nothing_of_those_who_have() -> None:
    client = TestClient(Limits(PlainTextResponse("ok"), Rates(may_ask=2, strangers=1), TOKEN))
    wrong = {"Authorization": "Bearer wrong"}
    assert [client.get("/cost", headers=wrong).status_code for _ in range(8)] == [200] * 5 + [429] * 3
    assert client.get("/health").status_code == 429
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert [client.get("/cost", headers=right).status_code for _ in range(11)] == [200] * 10 + [429]


class Slow:
    """A store that takes long for sums."""

    def __init__(self, stage: Stage, seconds: float) -> None:
        self._sums = stage.reads.usage_sums
        self._seconds = seconds
        self.asked = 0
        self.begun = threading.Semaphore(0)

    def __call__(self, *of: Any) -> Any:
        self.asked += 1
        self.begun.release()
        time.sleep(self._seconds)
        return self._sums(*of)


@contextmanager
def slow_store(seconds: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[httpx.Client, Slow]]:
    stage = Stage()
    stage.send(TOPIC_METRIC, metric(ts=at(0)))
    slow = Slow(stage, seconds)
    monkeypatch.setattr(stage.reads, "usage_sums", slow)
    many = httpx.Limits(max_connections=200)
    with (
        serving(stage.app, http="h11", lifespan="off") as (host, port),
        httpx.Client(base_url=f"http://{host}:{port}", timeout=60, limits=many) as client,
    ):
        yield client, slow


def test_slow_questions_hold_nothing_else_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_store(2.0, monkeypatch) as (client, slow), ThreadPoolExecutor(QUESTIONS) as pool:
        questions = [
            pool.submit(client.get, "/usage", params={"model": f"m{number}"}) for number in range(QUESTIONS)
        ]
        assert slow.begun.acquire(timeout=10)
        time.sleep(0.5)
        longest = dict.fromkeys(("/metrics", "/health", "/health/ready", "/gpu/info", "/prices"), 0.0)
        for _ in range(5):
            for path in longest:
                begun = time.monotonic()
                assert client.get(path).status_code == 200
                longest[path] = max(longest[path], time.monotonic() - begun)
        assert max(longest.values()) < 0.5, longest
        answers = [question.result() for question in questions]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() <= {200, 503}
    assert statuses[200] >= 16
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "5"
            assert answer.json()["title"] == "Too many questions at once"


def test_a_question_that_many_ask_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_store(1.0, monkeypatch) as (client, slow), ThreadPoolExecutor(QUESTIONS) as pool:
        begun = time.monotonic()
        answers = list(pool.map(lambda _: client.get("/usage").status_code, range(QUESTIONS)))
        assert answers == [200] * QUESTIONS
        assert slow.asked == 1
        assert time.monotonic() - begun < 3


def test_questions_beyond_the_queue_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_store(2.0, monkeypatch) as (client, _), ThreadPoolExecutor(80) as pool:
        answers = list(pool.map(lambda n: client.get("/usage", params={"host": f"h{n}"}), range(80)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[503] >= 16
    assert statuses.keys() == {200, 503}


def test_a_question_waits_so_long_and_no_longer() -> None:
    async def ask() -> None:
        questions = Questions(at_once=1, wait_seconds=0.2)
        first = asyncio.ensure_future(questions.ask("first", lambda: time.sleep(1)))
        await asyncio.sleep(0.05)
        with pytest.raises(TooManyQuestionsError):
            await questions.ask("second", lambda: 2)
        await first
        assert await questions.ask("second", lambda: 2) == 2

    asyncio.run(ask())


def test_a_question_has_the_time_limit_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver finds it in the thread that asks the store."""
    stage = Stage()
    found: list[float | None] = []

    def look(*_: object) -> list[object]:
        found.append(_csot.remaining())
        return []

    monkeypatch.setattr(stage.reads, "usage_sums", look)
    assert stage.client.get("/usage").status_code == 200
    (seconds,) = found
    assert seconds is not None
    assert 25 < seconds <= 30
