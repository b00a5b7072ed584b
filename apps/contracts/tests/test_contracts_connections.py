"""The limits of connections, over sockets."""

import http.client
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_network
from typing import Any

import pytest
from gpu_token_contracts.connections import ConnectionLimits, limited_protocol, one_client

from testing.serving import serving

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE_BYTES = 32 * 1024 * 1024
Address = tuple[str, int]


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A body as large as the path says, once nothing more is to come if it says /wait."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
    size = LARGE_BYTES if scope["path"] == "/large" else 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": b"x" * size})


@contextmanager
def server(**changes: Any) -> Iterator[Address]:
    values: dict[str, Any] = {"at_once": 30, "of_one_address": 10, "head_seconds": 1.0} | changes
    protocol = limited_protocol(ConnectionLimits(**values))
    with serving(answer, http=protocol, ws="none", lifespan="off") as address:
        yield address


class Clients:
    """Connections from any address of this machine."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self._open = ExitStack()

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def connect(self, source: str = "127.0.0.1", count: int = 1, sent: bytes = b"") -> list[socket.socket]:
        made = []
        for _ in range(count):
            one = socket.create_connection(self._to, timeout=10, source_address=(source, 0))
            self._open.enter_context(one)
            one.sendall(sent)
            made.append(one)
        # Each has come to the server.
        time.sleep(0.1)
        return made

    def status(self, source: str = "127.0.0.1") -> int | None:
        """Of a request on a new connection; None if it is hung up."""
        with socket.create_connection(self._to, timeout=10, source_address=(source, 0)) as one:
            try:
                one.sendall(ASK)
                response = http.client.HTTPResponse(one)
                response.begin()
            except (ConnectionError, http.client.HTTPException):
                return None
            return response.status


def is_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        one.settimeout(10)


def seconds_until_closed(one: socket.socket) -> float:
    begun = time.monotonic()
    everything(one)
    return time.monotonic() - begun


def everything(one: socket.socket) -> bytes:
    """What comes until the connection ends."""
    received = bytearray()
    with suppress(ConnectionError):
        while piece := one.recv(1024 * 1024):
            received += piece
    return bytes(received)


def test_a_connection_beyond_the_limit_takes_the_place_of_the_longest_silent() -> None:
    with server(head_seconds=30) as address, Clients(address) as clients:
        silent = clients.connect(count=15)
        assert [is_open(one) for one in silent] == [False] * 5 + [True] * 10
        assert clients.status() == 200
        assert clients.status("127.0.0.2") == 200
        assert [is_open(one) for one in silent] == [False] * 6 + [True] * 9


def test_who_has_a_request_in_hand_keeps_its_connection() -> None:
    with server(head_seconds=30) as address, Clients(address) as clients:
        busy = clients.connect(count=10, sent=b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert clients.status() is None
        assert clients.status("127.0.0.2") == 200
        assert all(is_open(one) for one in busy)


def test_many_addresses_together_shut_nobody_out() -> None:
    with server(head_seconds=30) as address, Clients(address) as clients:
        few = clients.connect("127.0.0.9", count=2)
        silent = [one for number in range(2, 9) for one in clients.connect(f"127.0.0.{number}", count=10)]
        assert clients.status("127.0.0.10") == 200
        assert sum(is_open(one) for one in [*few, *silent]) <= 30
        # Room is made by those who have most.
        assert all(is_open(one) for one in few)


def test_a_proxy_may_have_them_all() -> None:
    proxies = (ip_network("127.0.0.2/32"),)
    with server(head_seconds=30, proxies=proxies) as address, Clients(address) as clients:
        assert all(is_open(one) for one in clients.connect("127.0.0.2", count=25))


@pytest.mark.parametrize("sent", [b"", b"GET / HT", ASK[:-2]], ids=["nothing", "line", "half"])
def test_a_head_must_come_in_time(sent: bytes) -> None:
    with server() as address, Clients(address) as clients:
        (one,) = clients.connect(sent=sent)
        assert 0.5 < seconds_until_closed(one) < 3


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nHost: ",
        ASK + b"GET / HTTP/1.1\r\nHost: ",
        ASK[:-2] + b"Content-Length: 999\r\n\r\n",
    ],
    ids=["head", "second head", "body"],
)
def test_a_byte_now_and_then_gains_no_time(begun: bytes) -> None:
    with server() as address, Clients(address) as clients:
        (one,) = clients.connect(sent=begun)
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 8:
                one.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - started < 4


def test_who_does_not_read_is_hung_up_on() -> None:
    with server() as address, Clients(address) as clients:
        (one,) = clients.connect(sent=ASK.replace(b" / ", b" /large "))
        time.sleep(4)
        assert len(everything(one)) < LARGE_BYTES


def test_who_reads_slowly_gets_all_of_it() -> None:
    with server(head_seconds=0.5) as address, Clients(address) as clients:
        request = ASK.replace(b" / ", b" /large ").replace(b"Host", b"Connection: close\r\nHost")
        (one,) = clients.connect(sent=request)
        received = 0
        started = time.monotonic()
        while piece := one.recv(256 * 1024):
            received += len(piece)
            time.sleep(0.02)
        assert received > LARGE_BYTES
        assert time.monotonic() - started > 1.5


def test_an_idle_connection_may_ask_again() -> None:
    with server() as address, Clients(address) as clients:
        (one,) = clients.connect()
        for _ in range(3):
            one.sendall(ASK)
            response = http.client.HTTPResponse(one)
            response.begin()
            assert (response.status, response.read()) == (200, b"xx")
            time.sleep(1.5)


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01 hello\r\n\r\n", ASK.replace(b"\r\n", b"\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n", 1)],
)
def test_what_clients_send_wrongly_is_said_once_a_minute(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with server() as address, Clients(address) as clients:
        for _ in range(20):
            (one,) = clients.connect(sent=sent)
            one.recv(100)
            one.close()
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines
    assert len(set(lines)) == len(lines) <= 2
    assert all("127.0.0.1" in line for line in lines)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.1.2", "10.0.1.2"),
        ("::ffff:10.0.1.2", "10.0.1.2"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
    ],
)
def test_all_addresses_of_a_client_are_one(address: str, client: str) -> None:
    assert one_client(address) == client
