"""Targets on real sockets that behave as badly as a target can."""

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from types import TracebackType
from typing import Self

Answer = Callable[[socket.socket], None]

_NEXT_BYTE_SECONDS = 0.1


class Target:
    """Listens from enter to exit; every connection is handed to `answer`, which may be changed meanwhile."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/metrics"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.heads.append(_read_head(connection))
                self.answer(connection)
            except OSError:
                pass


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError
        head += piece
    return head


def says(
    body: bytes,
    *headers: str,
    status: str = "200 OK",
    kind: str = "text/plain",
    date_offset: float | None = 0,
) -> Answer:
    """An answer as it should be; `date_offset` is how far Date is ahead, in seconds; None leaves it out."""

    def answer(connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        if date_offset is not None:
            lines.append(f"Date: {formatdate(time.time() + date_offset, usegmt=True)}")
        lines += ["Connection: close", *headers]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


def hangs(connection: socket.socket) -> None:
    """Takes the question and says nothing."""
    connection.settimeout(60)
    connection.recv(1)


def hangs_in_the_body(connection: socket.socket) -> None:
    """Sends a head and half a line."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nvllm:prompt_tok")
    hangs(connection)


def trickles_the_head(connection: socket.socket) -> None:
    """A byte at a time, so that no single wait is long."""
    _trickle(connection, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 10_000)


def trickles_the_body(connection: socket.socket) -> None:
    """A byte at a time, so that no single wait is long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    _trickle(connection, b"a" * 10_000)


def _trickle(connection: socket.socket, content: bytes) -> None:
    for position in range(len(content)):
        connection.sendall(content[position : position + 1])
        time.sleep(_NEXT_BYTE_SECONDS)


def resets(connection: socket.socket) -> None:
    """Ends the connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ends_early(connection: socket.socket) -> None:
    """Promises more than it sends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nvllm:prompt_tokens_total 1\n")


def speaks_no_http(connection: socket.socket) -> None:
    """Another protocol."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")


def endless(connection: socket.socket) -> None:
    """100 MB of samples, without saying how much it will be."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
    line = b'vllm:other_total{model_name="m",engine="0"} 1.0\n' * 20_000
    for _ in range(104):
        connection.sendall(line)


def bomb() -> Answer:
    """A hundred thousand bytes that unpack to 100 MB."""
    return says(gzip.compress(b"#" * 100_000_000), "Content-Encoding: gzip")


def vllm_text(
    prompt: float | str, completion: float | str = 0, *, began: float = 1.8e9, model: str = "m"
) -> bytes:
    """What a vLLM shows; `began` is when its counters did."""
    labels = f'{{engine="0",model_name="{model}"}}'
    return (
        "# HELP vllm:prompt_tokens_total Number of prefill tokens processed.\n"
        "# TYPE vllm:prompt_tokens_total counter\n"
        f"vllm:prompt_tokens_total{labels} {prompt}\n"
        f"vllm:prompt_tokens_created{labels} {began}\n"
        f"vllm:generation_tokens_total{labels} {completion}\n"
        f"vllm:generation_tokens_created{labels} {began}\n"
    ).encode()


def many_series(series: int) -> bytes:
    """An exposition of which hardly anything is wanted, as an engine's is."""
    lines = [vllm_text(100, 10).decode()]
    lines += [
        f'vllm:e2e_request_latency_seconds_bucket{{engine="0",le="{number}.5",model_name="m"}} {number}.0'
        for number in range(series)
    ]
    return "\n".join(lines).encode() + b"\n"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
