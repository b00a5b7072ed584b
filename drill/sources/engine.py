"""`python -m drill.sources.engine ADDRESS PORT RECORD SEED`: one life of an engine, with a record of it.

It ends when its standard input does, or by SIGTERM: then it takes no more requests, waits until it was
looked at once more, and goes.
"""

from __future__ import annotations

import gzip
import itertools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import HTTPServer
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from drill.sources.record import Amounts, Record, amounts_shown
from lab.workload import plan
from lab.workload.engine import Engine

MODEL = "drill"
_REQUESTS_PER_SECOND = 20.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # The next life listens at the same port.
    allow_reuse_address = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Told:
    """The server of the counters; `record` says what each answer had, before it goes and when it has gone."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self._answer = make_wsgi_app(engine.registry)
        self._record = record
        self._numbers = itertools.count()
        self._last_request = threading.Event()
        self.all_shown = threading.Event()

    def listen(self, address: str, port: int) -> HTTPServer:
        """Answer /metrics in a thread."""
        server = make_server(address, port, self._application, _Server, _Silent)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def no_more_requests(self) -> None:
        """From now on the counters stay as they are; `all_shown` is set when somebody has seen them so."""
        self._last_request.set()

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_last = self._last_request.is_set()
        (body,) = self._answer(environ, start_response)
        packed = "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
        number = next(self._numbers)
        self._record.showing(number, amounts_shown((gzip.decompress(body) if packed else body).decode()))

        def ended(whole: bool) -> None:
            self._record.shown(number, whole)
            if whole and is_last:
                self.all_shown.set()

        return _Answer(body, ended)


class _Answer:
    """A body of one part. `ended` is told whether all of it was handed to the kernel."""

    def __init__(self, body: bytes, ended: Callable[[bool], None]) -> None:
        self._body = body
        self._ended: Callable[[bool], None] | None = ended

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        self._end(True)

    def close(self) -> None:
        """The server is done with it."""
        self._end(False)

    def _end(self, whole: bool) -> None:
        if self._ended is not None:
            self._ended(whole)
            self._ended = None


def main(address: str, port: int, record: Record, seed: str) -> None:
    """Serve invented requests, and show the counters."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    engine = Engine(plan.Engine(MODEL, port, (), prompt_seconds=0.00004, answer_seconds=0.004))
    told = Told(engine, record)
    told.listen(address, port)
    record.listening()
    draw = random.Random(seed)
    while not stop.wait(draw.expovariate(_REQUESTS_PER_SECOND)):
        prompt = draw.randint(200, 4000)
        cached = prompt // 16 * 16 * draw.choice((0, 0, 1, 2)) // 4
        completion = draw.randint(20, 400)
        record.serving(Amounts(prompt, completion, cached, 1))
        engine.serve(prompt, cached, completion)
    told.no_more_requests()
    told.all_shown.wait()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Record(sys.argv[3]), sys.argv[4])
