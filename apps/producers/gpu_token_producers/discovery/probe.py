"""What answers at a port: an inference engine, an exporter of GPUs, or nothing that we read."""

import re
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from gpu_token_contracts import GpuMetric

from gpu_token_producers.sources.exposition import NotAnExposition, parse
from gpu_token_producers.sources.fetch import Fetcher, SourceError
from gpu_token_producers.sources.gpus import dcgm, nvidia_gpu_exporter
from gpu_token_producers.sources.labels import Labels

TIMEOUT_SECONDS = 2.0
_ACCEPT = "text/plain;version=0.0.4"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")

# By what only this engine's metrics begin with. The line may be a comment: some metrics come with the first
# request.
_ENGINES = {
    "vllm": re.compile(r"^(# TYPE )?vllm[:_]", re.MULTILINE),
    "sglang": re.compile(r"^(# TYPE )?sglang[:_]", re.MULTILINE),
    "tgi": re.compile(r"^(# TYPE )?tgi_", re.MULTILINE),
    "llamacpp": re.compile(r"^(# TYPE )?llamacpp[:_]", re.MULTILINE),
    # vLLM's names without their prefix.
    "nim": re.compile(r"^(# TYPE )?num_requests_running\b", re.MULTILINE),
}
_ENGINE_PATHS = ("/metrics", "/v1/metrics")


class Engine(NamedTuple):
    """An engine's type in sources.yml, its metrics' path, and its model where the metrics do not say."""

    type: str
    path: str
    model: str | None


class Exporter(NamedTuple):
    """An exporter's type in sources.yml, and the readings that it gives."""

    type: str
    readings: list[GpuMetric]


def engine_at(base: str) -> Engine | None:
    """The engine whose metrics are at `base`, such as http://127.0.0.1:8000; None if there is none."""
    with Fetcher(TIMEOUT_SECONDS) as fetcher:
        for path in _ENGINE_PATHS:
            text = _text(fetcher, base + path)
            for kind, sign in _ENGINES.items():
                if sign.search(text):
                    return Engine(kind, path, _model(fetcher, base, kind))
    return None


def exporter_at(base: str) -> Exporter | None:
    """The exporter of GPUs at `base`; None if there is none, or it knows no GPU."""
    with Fetcher(TIMEOUT_SECONDS) as fetcher:
        text = _text(fetcher, f"{base}/metrics")
    try:
        for kind, wanted, read in (
            ("dcgm", dcgm.WANTED, dcgm.dcgm_readings),
            ("nvidia_gpu_exporter", nvidia_gpu_exporter.WANTED, nvidia_gpu_exporter.exporter_readings),
        ):
            readings = read(parse(text, wanted), base, _EPOCH, Labels())
            if readings:
                return Exporter(kind, readings)
    except NotAnExposition:
        return None
    return None


def _model(fetcher: Fetcher, base: str, kind: str) -> str | None:
    """What a server with one model calls it: its metrics do not."""
    if kind == "tgi":
        name = _json(fetcher, f"{base}/info").get("model_id")
    elif kind == "llamacpp":
        models = _json(fetcher, f"{base}/v1/models").get("data")
        first = models[0] if isinstance(models, list) and models else None
        name = first.get("id") if isinstance(first, dict) else None
    else:
        return None
    return name if isinstance(name, str) and name else None


def _json(fetcher: Fetcher, url: str) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(fetcher.get(url, accept="application/json").body)
    except (SourceError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(fetcher: Fetcher, url: str) -> str:
    try:
        return fetcher.get(url, accept=_ACCEPT).body.decode("utf-8", "replace")
    except SourceError:
        return ""
