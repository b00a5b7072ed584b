"""Stands in for what runs on a GPU machine, as processes of their own.

`python producers_gpu_machine.py KIND --port PORT [--workers N]` serves KIND's metrics and prints the numbers
of its N worker processes, which stand for those that use a GPU.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

DATA = Path(__file__).parent / "data" / "gpus"


def vllm() -> str:
    registry = CollectorRegistry()
    Counter("vllm:prompt_tokens", "Prefill tokens.", ["model_name"], registry=registry).labels("chat").inc(5)
    return generate_latest(registry).decode()


def sglang() -> str:
    registry = CollectorRegistry()
    # Without a sample until the first request.
    Counter("sglang:prompt_tokens", "Prefill tokens.", ["model_name"], registry=registry)
    return generate_latest(registry).decode()


def nim() -> str:
    registry = CollectorRegistry()
    Gauge("num_requests_running", "Running.", ["model_name"], registry=registry).labels("chat").set(1)
    return generate_latest(registry).decode()


def tgi() -> str:
    return "# TYPE tgi_queue_size gauge\ntgi_queue_size 0\n"


def llamacpp() -> str:
    return "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 5\n"


def exporter(name: str) -> Callable[[], str]:
    return (DATA / name).read_text


def page() -> str:
    return "<!doctype html><p>vllm:prompt_tokens_total 5</p>"


KINDS: dict[str, Callable[[], str]] = {
    "vllm": vllm,
    "sglang": sglang,
    "nim": nim,
    "tgi": tgi,
    "llamacpp": llamacpp,
    "dcgm": exporter("dcgm-4.9.metrics"),
    "dcgm-mig": exporter("dcgm-mig.metrics"),
    "nvidia_gpu_exporter": exporter("nvidia_gpu_exporter.metrics"),
    "page": page,
}
MORE = {
    "tgi": {"/info": {"model_id": "org/chat"}},
    "llamacpp": {"/v1/models": {"data": [{"id": "chat.gguf"}]}},
}


def answers(kind: str) -> dict[str, str]:
    path = "/v1/metrics" if kind == "nim" else "/metrics"
    more = {where: json.dumps(what) for where, what in MORE.get(kind, {}).items()}
    return {path: KINDS[kind](), **more}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    known = answers(given.kind)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = known.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    # They end with us: their standard input does.
    workers = [
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        for _ in range(given.workers)
    ]
    print(json.dumps([worker.pid for worker in workers]), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
