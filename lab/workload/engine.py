"""An engine's counters, kept by the library that vLLM keeps them with, under vLLM's names."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    start_http_server,
)

from lab.workload import plan


class _WholeRequests(CollectorRegistry):
    """Counters that are only read while no request is being counted."""

    def __init__(self, counting: threading.Lock) -> None:
        super().__init__()
        self._counting = counting

    def collect(self) -> Iterator[Metric]:
        """What the counters show at one moment."""
        with self._counting:
            return iter(list(super().collect()))


class Engine:
    """Serves requests in no time, and counts the time that they would have taken."""

    def __init__(self, engine: plan.Engine) -> None:
        self.plan = engine
        self._lock = threading.Lock()
        self.registry = _WholeRequests(self._lock)
        ProcessCollector(registry=self.registry)
        names = ("model_name", "engine")
        values = (engine.model, "0")
        self._busy_seconds = 0.0

        def counter(name: str, text: str, **more: str) -> Counter:
            found = Counter(name, text, (*names, *more), registry=self.registry)
            return found.labels(*values, *more.values()) if not more else found

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, names, registry=self.registry).labels(*values)

        self._prompt = counter("vllm:prompt_tokens", "Number of prefill tokens processed.")
        self._answer = counter("vllm:generation_tokens", "Number of generation tokens processed.")
        self._by_source = counter(
            "vllm:prompt_tokens_by_source", "Number of prompt tokens by source.", source=""
        )
        self._success = counter(
            "vllm:request_success", "Count of successfully processed requests.", finished_reason=""
        )
        self._prefill = histogram(
            "vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase."
        )
        self._decode = histogram(
            "vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase."
        )
        self._values = values

    def listen(self, address: str) -> None:
        """Answer /metrics."""
        start_http_server(self.plan.port, address, self.registry)

    def serve(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """Count one request; returns the seconds that it took."""
        prefill_seconds = (prompt_tokens - cached_tokens) * self.plan.prompt_seconds
        decode_seconds = completion_tokens * self.plan.answer_seconds
        with self._lock:
            self._prompt.inc(prompt_tokens)
            self._by_source.labels(*self._values, "local_cache_hit").inc(cached_tokens)
            self._by_source.labels(*self._values, "local_compute").inc(prompt_tokens - cached_tokens)
            self._answer.inc(completion_tokens)
            self._success.labels(*self._values, "stop").inc()
            self._prefill.observe(prefill_seconds)
            self._decode.observe(decode_seconds)
            self._busy_seconds += prefill_seconds + decode_seconds
        return prefill_seconds + decode_seconds

    def take_busy_seconds(self) -> float:
        """How long it worked since this was last asked."""
        with self._lock:
            busy, self._busy_seconds = self._busy_seconds, 0.0
        return busy
