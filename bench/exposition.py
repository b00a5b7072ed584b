"""A target with the exposition of an engine that serves many models, whose counters grow with each look."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_MODELS = 30
# What vLLM exports as histograms, nearly all of its series.
_HISTOGRAMS = (
    "request_prompt_tokens",
    "request_generation_tokens",
    "iteration_tokens_total",
    "request_max_num_generation_tokens",
    "request_params_n",
    "request_params_max_tokens",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "request_time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_inference_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
)


@contextmanager
def target() -> Iterator[tuple[str, int]]:
    """Its URL, and how many series it shows."""
    registry = CollectorRegistry()
    names = ("model_name", "engine")
    prompt = Counter("vllm:prompt_tokens", "Number of prefill tokens processed.", names, registry=registry)
    answer = Counter("vllm:generation_tokens", "Number of generation tokens.", names, registry=registry)
    histograms = [Histogram(f"vllm:{name}", name, names, registry=registry) for name in _HISTOGRAMS]

    def grow() -> None:
        for number in range(_MODELS):
            labels = (f"organisation/model-{number}", "0")
            prompt.labels(*labels).inc(1000)
            answer.labels(*labels).inc(100)
            for histogram in histograms:
                histogram.labels(*labels).observe(0.1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            grow()
            body = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    grow()
    series = sum(not line.startswith(b"#") for line in generate_latest(registry).splitlines())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics", series
    finally:
        server.shutdown()
        server.server_close()
