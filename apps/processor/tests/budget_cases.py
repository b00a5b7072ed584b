"""Budgets over a store in memory, and a receiver of webhooks that listens."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from gpu_token_processor.budgets.budgets import Budgets
from gpu_token_processor.exports.days import Ledgers
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.rollups.view import NO_ROLLUPS, Rollups
from gpu_token_processor.store.reads import Reads

GAP_US = 30_000_000


def budgets_of(
    reads: Reads,
    hours: range = range(0),
    rollups: Rollups = NO_ROLLUPS,
    gap_us: int = GAP_US,
    price: float = 0.85,
) -> Budgets:
    return Budgets(lambda: Ledgers(reads, rollups, gap_us, exact(price)), lambda: hours)


class Told(NamedTuple):
    """One request."""

    path: str
    key: str
    body: dict[str, Any]


class Receiver:
    """Answers with a status, by the number of the request from 0; any exception cuts the connection."""

    def __init__(self, status: Callable[[int], int] = lambda _: 200) -> None:
        self.told: list[Told] = []
        self._status = status
        self._lock = threading.Lock()
        self.url = ""

    @contextmanager
    def listening(self, certificate: Path | None = None) -> Iterator["Receiver"]:
        """With a certificate over TLS."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                with receiver._lock:
                    number = len(receiver.told)
                    receiver.told.append(
                        Told(self.path, self.headers["Idempotency-Key"], json.loads(content))
                    )
                try:
                    status = receiver._status(number)
                except ConnectionError:
                    self.close_connection = True
                    return
                self.send_response(status)
                if status in range(300, 400):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            scheme = "http"
            if certificate is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                server.socket = context.wrap_socket(server.socket, server_side=True)
                scheme = "https"
            self.url = f"{scheme}://127.0.0.1:{server.server_port}/hooks/token-0123456789"
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield self
            finally:
                server.shutdown()

    @property
    def keys(self) -> list[str]:
        return [one.key for one in self.told]
