"""Access to the API, its limits, and its security headers."""

import base64
import http.client
import logging
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from gpu_token_processor.api.access import OPEN_PATHS, read_token
from gpu_token_processor.api.limits import Limits, RateLimit, Rates
from gpu_token_processor.settings import Settings, SettingsError
from processor_process import Process, run
from processor_stage import Stage
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

TOKEN = "0123456789abcdefghijABCDEFGHIJ"
CLOSED = [
    "/gpu/info",
    "/usage",
    "/cost",
    "/throughput",
    "/dead-letters",
    "/deployments",
    "/prices",
    "/leases",
    "/export/cost.csv",
    "/export/focus.csv",
    "/rates",
    "/openapi.json",
    # It has no end.
    "/events",
    "/health/",
    "/none",
]
PROBLEM = "application/problem+json"
NOBODY = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "MONGO_URL": "mongodb://127.0.0.1:1"}


@pytest.fixture(scope="module")
def guarded() -> Stage:
    return Stage(TOKEN)


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, "Bearer"),
        ("", "Bearer"),
        ("Bearer", "Bearer"),
        ("Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode(), "Bearer"),
        (TOKEN, "Bearer"),
        ("Bearer wrong", 'Bearer error="invalid_token"'),
        (f"Bearer {TOKEN}x", 'Bearer error="invalid_token"'),
        (f"Bearer {TOKEN[:-1]}", 'Bearer error="invalid_token"'),
        ("Bearer \xff\xfe", 'Bearer error="invalid_token"'),
    ],
)
def test_nobody_asks_without_the_token(
    guarded: Stage, path: str, authorization: str | None, challenge: str
) -> None:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    response = guarded.client.get(path, headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (401, PROBLEM)
    assert response.headers["www-authenticate"] == challenge
    assert TOKEN not in response.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_the_token_opens_every_path(guarded: Stage, scheme: str) -> None:
    for path in CLOSED[:-3]:
        response = guarded.client.get(path, headers={"Authorization": f"{scheme} {TOKEN}"})
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", [*sorted(OPEN_PATHS), "/page/main.js"])
def test_health_metrics_and_the_page_are_open(guarded: Stage, path: str) -> None:
    assert guarded.client.get(path).status_code == 200


def test_a_refusal_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    guarded = Stage(TOKEN)
    with caplog.at_level(logging.WARNING):
        guarded.client.get("/cost", headers={"Authorization": "Bearer s3cret"})
    assert "refused GET '/cost' from testclient: a wrong token" in caplog.text
    assert "s3cret" not in caplog.text
    assert 'gpu_token_http_request_seconds_count{route="unknown",status="401"} 1.0' in (
        guarded.client.get("/metrics").text
    )


def test_the_document_says_where_the_token_is_needed(guarded: Stage) -> None:
    document = guarded.client.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert document["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert document["security"] == [{"token": []}]
    assert {path for path, of in document["paths"].items() if of["get"].get("security") == []} == {
        "/health",
        "/health/live",
        "/health/ready",
    }
    assert "security" not in Stage().get("/openapi.json")


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(settings(api_token_file=str(tmp_path / "token"))) == TOKEN
    assert read_token(settings(api_access="open")) is None


@pytest.mark.parametrize("content", [b"", b"short", b"two words of a long token", b"\xff" * 30, b"x" * 600])
def test_an_unusable_token_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^API_TOKEN_FILE is '.*', which .*: give .*\.$") as caught:
        read_token(settings(api_token_file=str(tmp_path / "token")))
    assert not content or content.decode("latin-1") not in str(caught.value)


def settings(**values: str) -> Settings:
    known = {"kafka_bootstrap": "kafka-1:9092", "mongo_url": "mongodb://mongo-1", "api_access": "token"}
    return Settings(**known | values)  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [{}, {"API_TOKEN_FILE": "/nonexistent"}])
def test_without_a_token_it_does_not_start(extra: dict[str, str]) -> None:
    process = run("gpu_token_processor", **NOBODY, API_ACCESS="token", **extra)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert output.startswith("API_TOKEN_FILE is ")
    assert output.count("\n") == 1


def test_a_bucket_holds_five_seconds_and_fills_again() -> None:
    now = 0.0
    limit = RateLimit(2, lambda: now)
    assert [limit.wait_seconds("a") for _ in range(10)] == [0] * 10
    assert limit.wait_seconds("a") == limit.wait_seconds("a") == pytest.approx(0.5)
    assert limit.wait_seconds("b") == 0
    now = 0.5
    assert limit.wait_seconds("a") == 0
    assert limit.wait_seconds("a") > 0
    now = 100
    assert [limit.wait_seconds("a") for _ in range(10)] == [0] * 10
    assert limit.wait_seconds("a") > 0


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    limit = RateLimit(1, lambda: 0.0)
    for number in range(20_000):
        limit.wait_seconds(str(number))
    assert len(limit._full_at) == 10_000


def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    client = Stage(requests_per_second=1).client
    assert [client.get("/health").status_code for _ in range(5)] == [200] * 5
    response = client.get("/health")
    assert (response.status_code, response.headers["content-type"]) == (429, PROBLEM)
    assert response.headers["retry-after"] == "1"


def test_so_many_at_once_and_no_more() -> None:
    limits = Limits(PlainTextResponse("ok"), Rates(may_ask=1_000, strangers=1_000))
    client = TestClient(limits)
    limits._at_once = 99
    assert client.get("/cost").status_code == 200
    limits._at_once = 100
    response = client.get("/cost")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert client.get("/health/ready").status_code == 200
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("path", ["/cost", "/health", "/none"])
def test_no_request_takes_a_body(guarded: Stage, method: str, path: str) -> None:
    response = guarded.client.request(method, path, content=b"x")
    assert (response.status_code, response.headers["content-type"]) == (413, PROBLEM)
    assert guarded.client.request(method, path, content=iter([b"x"])).status_code == 413


def test_the_length_of_a_request_is_bounded(guarded: Stage) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.client.get("/usage?host=" + "x" * 4_000, headers=headers).status_code == 422
    assert guarded.client.get("/usage?host=" + "x" * 9_000, headers=headers).status_code == 431
    assert guarded.client.get("/health", headers={"X": "x" * 9_000}).status_code == 431


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    with Process(**NOBODY, API_ACCESS="token", API_TOKEN_FILE=str(token)) as made:
        yield made


def test_the_process_guards_what_it_serves(process: Process) -> None:
    assert process.status("/cost") == 401
    assert process.status("/metrics") == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /cost?host=" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /cost HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"POST /cost HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /cost HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
    ],
)
def test_the_oversized_and_the_malformed_are_refused(process: Process, sent: bytes) -> None:
    host, port = process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status in (400, 413, 431)
        assert b"Traceback" not in answer.read()
    assert process.status("/health/live") == 200


def test_a_connection_goes_on_after_a_head(process: Process) -> None:
    host, port = process.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    for method in ("HEAD", "GET", "HEAD", "GET"):
        connection.request(method, "/health/live")
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200
        assert len(body) == (0 if method == "HEAD" else int(answer.headers["content-length"]))
    connection.close()


def test_every_answer_has_the_headers(guarded: Stage) -> None:
    for client in (guarded.client, Stage().client):
        for path in ("/cost", "/health", "/metrics", "/none", "/usage?host="):
            headers_are_there(client.get(path).headers)
        for path in ("/", "/page/main.js"):
            headers_are_there(client.get(path).headers, cached="no-cache")


def test_an_unexpected_error_has_the_headers_and_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage.reads, "dead_letters", lambda: 1 / 0)
    response = stage.client.get("/dead-letters")
    assert response.status_code == 500
    headers_are_there(response.headers)
    for word in ("Traceback", "ZeroDivision", ".py"):
        assert word not in response.text


def headers_are_there(headers: Mapping[str, str], cached: str = "no-store") -> None:
    assert headers["cache-control"] == cached
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
