"""The intake over a socket: who may send, how much, and what happens when anything goes wrong."""

import gzip
import logging
import signal
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from gpu_token_contracts.notes import Notes
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.intake.limits import MIB, Limits
from gpu_token_producers.intake.server import Server
from gpu_token_producers.intake.source import IntakeSource
from producers_intake import SOURCES, TOKEN, Running, running, source
from producers_kafka import MockKafka

from testing.waiting import until

_TS = 1_772_445_600
_LIMITS = Limits(head_seconds=1, body_seconds=1, ack_seconds=2)


def _request(number: object, **fields: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    return {"id": f"r{number}", "model": "chat", "created": _TS, "usage": usage, **fields}


@pytest.fixture
def intake(kafka: MockKafka, topics: tuple[str, str]) -> Iterator[Running]:
    with running(kafka, topics[1], limits=_LIMITS) as one:
        yield one


def _raw(intake: Running, *parts: bytes, pause_seconds: float = 0, end: bool = False) -> bytes:
    """All that comes back for bytes written to a socket."""
    with socket.create_connection(("127.0.0.1", intake.server.port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_seconds)
        if end:
            return b""
        received = b""
        while piece := connection.recv(65_536):
            received += piece
        return received


def _head(length: int, *more: str) -> bytes:
    lines = [
        "POST /v1/usage HTTP/1.1",
        "Host: intake",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {length}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_acknowledged_is_stored(intake: Running) -> None:
    answer = intake.post("/v1/usage", [_request(number) for number in range(100)])
    assert answer.json() == {"accepted": 100, "ignored": {}, "refused_count": 0, "refused": []}
    assert len(intake.read()) == 100
    # Sent again, they are the same events.
    intake.post("/v1/usage", [_request(number) for number in range(100)])
    assert len(intake.read()) == 100
    assert intake.count("requests", source="apps", outcome="accepted") == 2
    assert intake.count("events", source="apps") == 200


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, "Bearer"),
        ("Basic YTpi", "Bearer"),
        (f"Token {TOKEN}", "Bearer"),
        ("Bearer", "Bearer"),
        ("Bearer wrong", 'Bearer error="invalid_token"'),
        (f"Bearer {TOKEN}x", 'Bearer error="invalid_token"'),
        ("Bearer \xff", 'Bearer error="invalid_token"'),
    ],
)
@pytest.mark.parametrize("path", ["/v1/usage", "/v1/litellm", "/v1/metrics", "/v1/usage/other"])
def test_no_token(intake: Running, path: str, header: str | None, challenge: str) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    answer = intake.client.post(path, content=b"MARKER", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == challenge
    assert answer.json()["title"] == "Unauthorized"
    assert TOKEN not in answer.text
    assert "MARKER" not in answer.text


def test_the_scheme_in_any_case(intake: Running) -> None:
    headers = {"Authorization": f"bearer {TOKEN}"}
    assert intake.post("/v1/usage", _request(1), headers=headers).status_code == 200


def test_open_paths(intake: Running) -> None:
    assert intake.client.get("/health").json() == {"status": "ok"}
    assert "gpu_token_intake_requests_total" in intake.client.get("/metrics").text


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/docs", "/openapi.json", "/v1/usage/a/b", "/%2e%2e/etc/passwd"]
)
def test_unknown_paths(intake: Running, path: str) -> None:
    answer = intake.post(path, b"")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/v1/usage" in answer.json()["detail"]


def test_what_is_not_configured(kafka: MockKafka, topics: tuple[str, str]) -> None:
    sources = [*source("litellm"), IntakeSource("a", "openai_usage"), IntakeSource("b", "openai_usage")]
    with running(kafka, topics[1], sources) as intake:
        answer = intake.post("/v1/metrics", b"{}")
        assert answer.status_code == 404
        assert "otlp is configured: add one to sources.yml" in answer.json()["message"]
        answer = intake.post("/v1/usage", _request(1))
        assert answer.status_code == 404
        assert "/v1/usage/<name of the source>" in answer.json()["detail"]
        assert intake.post("/v1/usage/b", _request(1)).status_code == 200
        assert intake.post("/v1/usage/it", _request(1)).status_code == 404
        assert intake.count("events", source="b") == 1


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [MIB + 1, 10 * MIB])
def test_too_large(intake: Running, size: int, chunked: bool) -> None:
    body: Any = iter([bytes(65_536)] * (size // 65_536 + 1)) if chunked else bytes(size)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = intake.client.post("/v1/usage", content=body, headers=headers)
    assert answer.status_code == 413
    assert str(MIB) in answer.json()["detail"]
    assert intake.post("/v1/usage", _request(1)).status_code == 200


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
def test_packed(intake: Running, encoding: str, bits: int) -> None:
    packer = zlib.compressobj(9, wbits=bits)
    body = packer.compress(msgspec.json.encode(_request(1))) + packer.flush()
    assert intake.post("/v1/usage", body, headers={"Content-Encoding": encoding}).json()["accepted"] == 1


def test_a_bomb(intake: Running) -> None:
    bomb = gzip.compress(bytes(500 * MIB), 9)
    assert len(bomb) < MIB
    before = _resident_bytes()
    answer = intake.post("/v1/usage", bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "unpacks" in answer.json()["detail"]
    assert _resident_bytes() - before < 50 * MIB


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"no gzip", "gzip", 400),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-9], "gzip", 400),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip", 400),
        (b"", "gzip", 400),
        (b"{}", "br", 415),
    ],
)
def test_badly_packed(intake: Running, body: bytes, encoding: str, status: int) -> None:
    answer = intake.post("/v1/usage", body, headers={"Content-Encoding": encoding})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_nothing_usable(intake: Running) -> None:
    answer = intake.post("/v1/usage", [{"MARKER": 1}, 7])
    assert answer.status_code == 400
    assert [one["index"] for one in answer.json()["refused"]] == [0, 1]
    assert answer.json()["detail"] == "None of the objects can be used; the first: Field usage is missing."
    assert "MARKER" not in answer.text


def test_partly_usable(intake: Running) -> None:
    answer = intake.post("/v1/usage", [_request(1), {"id": "x"}])
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    assert answer.json()["refused"] == [{"index": 1, "reason": "Field usage is missing."}]


def test_a_slow_body(intake: Running) -> None:
    begun = time.monotonic()
    answer = _raw(intake, _head(100), b"{", pause_seconds=0.1)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - begun < 9
    assert intake.count("requests", source="apps", outcome="too_slow") == 1


@pytest.mark.parametrize("head", [b"", b"POST /v1/usage HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half"])
def test_a_slow_head(intake: Running, head: bytes) -> None:
    begun = time.monotonic()
    assert _raw(intake, head) == b""
    assert time.monotonic() - begun < 5


def test_a_slow_head_after_an_answer(intake: Running) -> None:
    body = msgspec.json.encode(_request(1))
    begun = time.monotonic()
    answer = _raw(intake, _head(len(body)) + body, b"P", pause_seconds=0.2)
    assert answer.startswith(b"HTTP/1.1 200")
    assert time.monotonic() - begun < 5


def test_a_connection_that_pauses_stays(intake: Running) -> None:
    """Longer than heads may take: senders pause between two batches."""
    assert intake.post("/v1/usage", _request(1)).status_code == 200
    time.sleep(1.5)
    with socket.create_connection(("127.0.0.1", intake.server.port), timeout=10) as connection:
        for number in range(2):
            body = msgspec.json.encode(_request(number))
            connection.sendall(_head(len(body)) + body)
            answer = b""
            while b'"accepted":1' not in answer:
                piece = connection.recv(65_536)
                assert piece, answer
                answer += piece
            time.sleep(1.5)


def test_cut_off(intake: Running) -> None:
    _raw(intake, _head(100), b'{"id": "MARKER', end=True)
    until(lambda: intake.count("requests", source="apps", outcome="cut_off") == 1, "it is counted", 10)
    assert intake.post("/v1/usage", _request(1)).status_code == 200


def test_no_http(intake: Running) -> None:
    assert b" 400 " in _raw(intake, b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in _raw(intake, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000)
    assert intake.post("/v1/usage", _request(1)).status_code == 200


def test_each_kind_is_said_once(intake: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            intake.client.post("/v1/usage", content=b"MARKER")
            intake.post("/v1/usage", b"MARKER")
            intake.post("/v1/usage", bytes(2 * MIB))
            intake.post("/v1/usage", [_request(1), {"id": "MARKER"}])
            _raw(intake, _head(100), b"MARKER", end=True)
        until(lambda: intake.count("requests", source="apps", outcome="cut_off") == 50, "all are counted", 10)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("gpu_token")]
    assert len(lines) == 5
    assert "MARKER" not in caplog.text
    assert TOKEN not in caplog.text
    for outcome, of in (("unauthorized", "none"), ("unreadable", "apps"), ("too_large", "apps")):
        assert intake.count("requests", source=of, outcome=outcome) == 50


def test_notes_say_how_many_they_kept_back(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    notes = Notes(logging.getLogger("notes"), lambda: now[0])
    for moment in (0, 1, 59, 61):
        now[0] = moment
        notes.say("kind", "It happened to %s", "x")
    assert caplog.messages == ["It happened to x", "It happened to x (2 more since the last such line)"]


def test_two_hundred_at_once_while_kafka_stands_still(
    intake: Running, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    """All are answered; what was acknowledged is stored; repeated until acknowledged, all is, once."""
    intake.post("/v1/usage", _request("first"))
    before = _resident_bytes()
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    with (
        httpx.Client(base_url=intake.url, timeout=30, limits=limits) as client,
        ThreadPoolExecutor(200) as pool,
    ):
        headers = {"Authorization": f"Bearer {TOKEN}"}

        def send(number: int) -> int:
            body = msgspec.json.encode([_request(f"{number}-{one}", choices="x" * 5000) for one in range(20)])
            return client.post("/v1/usage", content=body, headers=headers).status_code

        kafka.process.send_signal(signal.SIGSTOP)
        try:
            stopped = list(pool.map(send, range(200)))
            assert intake.client.get("/health").status_code == 200
        finally:
            kafka.process.send_signal(signal.SIGCONT)
        assert set(stopped) == {503}
        assert _resident_bytes() - before < 150 * MIB
        left = set(range(200))
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:
            numbers = sorted(left)
            left -= {
                one for one, status in zip(numbers, pool.map(send, numbers), strict=True) if status == 200
            }
    assert not left
    ids = {event.event_id.split(":")[1] for event in intake.read() if event.event_id}
    assert ids == {"rfirst"} | {f"r{number}-{one}" for number in range(200) for one in range(20)}


def test_a_full_buffer_is_said_at_once(kafka: MockKafka, topics: tuple[str, str]) -> None:
    with running(kafka, topics[1], limits=_LIMITS, buffer=10) as intake:
        begun = time.monotonic()
        answer = intake.post("/v1/usage", [_request(number) for number in range(1000)])
        assert time.monotonic() - begun < _LIMITS.ack_seconds
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert intake.count("requests", source="apps", outcome="busy") == 1


def test_too_many_at_once(kafka: MockKafka, topics: tuple[str, str]) -> None:
    limits = Limits(requests_at_once=4, body_seconds=3)
    with running(kafka, topics[1], limits=limits) as intake:
        slow = [threading.Thread(target=_raw, args=(intake, _head(100), b"{")) for _ in range(4)]
        for thread in slow:
            thread.start()
        until(lambda: _status(intake) == 503, "it is full", 3)
        for thread in slow:
            thread.join()
        assert _status(intake) == 200


def test_large_bodies_share_their_room(kafka: MockKafka, topics: tuple[str, str]) -> None:
    limits = Limits(bodies_bytes=100_000, body_seconds=3)
    with running(kafka, topics[1], limits=limits) as intake:
        slow = threading.Thread(target=_raw, args=(intake, _head(99_900), b" " * 99_800))
        slow.start()
        until(lambda: _status(intake) == 503, "it is full", 3)
        slow.join()
        assert _status(intake) == 200


def _status(intake: Running) -> int:
    return intake.post("/v1/usage", _request("x" * 150)).status_code


def test_stop_answers_what_has_begun(kafka: MockKafka, topics: tuple[str, str]) -> None:
    with running(kafka, topics[1]) as intake:
        statuses: list[int] = []
        kafka.process.send_signal(signal.SIGSTOP)
        try:
            asking = threading.Thread(
                target=lambda: statuses.append(intake.post("/v1/usage", _request(1)).status_code)
            )
            asking.start()
            time.sleep(0.5)
            stopping = threading.Thread(target=intake.server.stop)
            stopping.start()
            time.sleep(0.5)
        finally:
            kafka.process.send_signal(signal.SIGCONT)
        asking.join()
        stopping.join()
        assert statuses == [200]
        assert not intake.server.running
        assert len(intake.read()) == 1


def test_a_port_that_is_taken(intake: Running) -> None:
    with pytest.raises(ProducerError, match=rf"intake.port is {intake.server.port}, .* give a free port"):
        Server(lambda *_: None, intake.server.port, host="127.0.0.1").start()  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "address", ["nonsense.invalid", "not an address", "192.0.2.1", "::1", "a..b", "é" * 70]
)
def test_an_address_that_is_not_here(address: str) -> None:
    with pytest.raises(ProducerError) as caught:
        Server(lambda *_: None, 0, host=address).start()  # type: ignore[arg-type,return-value]
    assert str(caught.value).startswith(f"intake.address is {address!r}, which is no IPv4 address of")
    assert str(caught.value).endswith("give one, or 0.0.0.0 for all that it has.")


def test_every_type_has_a_source_here() -> None:
    assert {one.type for one in SOURCES} == {"openai_usage", "litellm", "otlp"}


def _resident_bytes() -> int:
    """Of this process, in which the intake runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
