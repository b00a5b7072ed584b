"""An engine's stand-in: real counters of prometheus_client, under vLLM's names, in a process of its own.

It produces tokens at a rate until it is told to stop, and writes to a file what each answer of /metrics
showed: what nobody was ever shown, nobody can count.

SIGTERM: it produces no more, serves one more answer, and ends, as an engine that is drained.
SIGUSR2: it produces no more, and serves on.
SIGUSR1: it dies by SIGKILL, at once but never within an answer, so that the file says exactly what was shown.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter as Count
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest

AMOUNTS = ("prompt_tokens", "completion_tokens", "cached_prompt_tokens", "requests")
Totals = dict[str, Count[str]]


class Engine:
    """Starts, ends and kills the process, and reads what its lives showed."""

    def __init__(
        self, folder: Path, port: int, *, models: str = "m1,m2", requests_per_second: float = 100
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._arguments = [models, str(requests_per_second)]
        self.port = port
        self.url = f"http://127.0.0.1:{port}/metrics"
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Begin a life."""
        self._lives += 1
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.port), str(self._log(self._lives)), *self._arguments],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGUSR1)

    def drain(self) -> None:
        """SIGTERM, and wait for its end."""
        self._end(signal.SIGTERM)

    def idle(self) -> None:
        """Let it produce no more, and serve on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR2)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    @property
    def answers(self) -> int:
        """How often this life was asked."""
        return len(self._lines(self._lives))

    def shown(self) -> Totals:
        """What all lives showed last, by model, without what the first showed first."""
        added: Totals = {}
        for life in range(1, self._lives + 1):
            if lines := self._lines(life):
                _add(added, lines[-1], 1)
        _add(added, self._lines(1)[0], -1)
        return added

    def made(self) -> Totals:
        """What the lives that have ended made, by model, whoever saw it."""
        added: Totals = {}
        for life in range(1, self._lives + 1):
            if (path := self._log(life).with_suffix(".made")).exists():
                _add(added, json.loads(path.read_text()), 1)
        _add(added, self._lines(1)[0], -1)
        return added

    def _log(self, life: int) -> Path:
        return self._folder / f"engine-{life}.log"

    def _lines(self, life: int) -> list[dict[str, list[int]]]:
        path = self._log(life)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _add(added: Totals, totals: dict[str, list[int]], sign: int) -> None:
    for model, amounts in totals.items():
        for name, amount in zip(AMOUNTS, amounts, strict=True):
            added.setdefault(model, Count())[name] += sign * amount


def main(port: int, log: Path, models: str, requests_per_second: float) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    labels = ["model_name", "engine"]
    prompt = Counter("vllm:prompt_tokens", "Number of prefill tokens processed.", labels, registry=registry)
    made = Counter(
        "vllm:generation_tokens", "Number of generation tokens processed.", labels, registry=registry
    )
    done = Counter("vllm:request_success", "Requests.", [*labels, "finished_reason"], registry=registry)
    cached = Counter("vllm:prompt_tokens_by_source", "By source.", [*labels, "source"], registry=registry)
    # One lock, so that an answer shows whole requests only.
    lock = threading.Lock()
    names = models.split(",")
    for name in names:
        prompt.labels(name, "0")
        made.labels(name, "0")
    totals = {name: [0, 0, 0, 0] for name in names}
    draining = threading.Event()
    idle = threading.Event()
    ended = threading.Event()

    def produce() -> None:
        number = 0
        while not draining.wait(1 / requests_per_second):
            name, number = names[number % len(names)], number + 1
            if idle.is_set():
                continue
            with lock:
                tokens = (100 + number % 7, 10 + number % 5, 40)
                prompt.labels(name, "0").inc(tokens[0])
                made.labels(name, "0").inc(tokens[1])
                cached.labels(name, "0", "local_cache_hit").inc(tokens[2])
                cached.labels(name, "0", "local_compute").inc(tokens[0] - tokens[2])
                done.labels(name, "0", "stop").inc()
                for position, amount in enumerate((*tokens, 1)):
                    totals[name][position] += amount

    def note_made() -> None:
        log.with_suffix(".made").write_text(json.dumps(totals))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                last = draining.is_set()
                body = generate_latest(registry)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                with log.open("a") as file:
                    file.write(json.dumps(totals) + "\n")
            if last:
                ended.set()

        def log_message(self, *_: object) -> None: ...

    def die() -> None:
        with lock:
            note_made()
            os.kill(os.getpid(), signal.SIGKILL)

    # In threads of their own: a handler may interrupt whoever holds the lock.
    signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=die).start())
    signal.signal(signal.SIGUSR2, lambda *_: idle.set())
    signal.signal(signal.SIGTERM, lambda *_: draining.set())
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=produce, daemon=True).start()
    print("ready", flush=True)
    while not ended.wait(0.1):
        pass
    note_made()
    time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
