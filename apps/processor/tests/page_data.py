"""A week of readings and usage that ends now, with a catalogue: what the page is shown with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from gpu_token_contracts.bounds import MAX_TEXT_LENGTH
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import parse_catalog

# So long a reading holds; with that of the product it would take a hundred times as many.
METRIC_GAP_SECONDS = 3_600
_EVERY = timedelta(minutes=30)
_WEEK = timedelta(days=7)

# By deployment: its GPUs, what an hour of one costs, and its models, each with its tokens an hour.
_DEPLOYMENTS: dict[str, tuple[int, float, dict[str, int]]] = {
    "chat": (4, 2.5, {"llama-3-70b": 900_000, "llama-3-8b": 500_000}),
    "code": (2, 2.5, {"qwen2.5-coder-32b": 700_000}),
    "embed": (1, 1.1, {f"embed-{size}": 40_000 + 1_000 * at for at, size in enumerate("abcdef")}),
}
_TEAMS = (("search", 5), ("support", 3), ("research", 2))
# Names that come from events may be anything.
LONG_NAME = ("a-model-whose-name-is-far-too-long-" * 32)[:MAX_TEXT_LENGTH]
ODD_NAMES = (LONG_NAME, "نموذج-عربي <b>7b</b>", "🦙🦙-chat-👩‍💻")


def catalog(now: datetime) -> Catalog:
    """Prices, deployments, budgets and a lease of a GPU that never reports."""
    return parse_catalog(
        {
            "deployments": [
                {"id": name, "models": list(models), "gpus": [f"GPU-{name}-{at}" for at in range(count)]}
                for name, (count, _, models) in _DEPLOYMENTS.items()
            ],
            "prices": [
                {"selector": {"gpu_name": _gpu_name(price)}, "usd_per_hour": price}
                for price in sorted({price for _, price, _ in _DEPLOYMENTS.values()})
            ],
            "leases": [{"selector": {"uuid": "GPU-silent"}, "from": now - timedelta(days=2)}],
            "budgets": [
                {"name": "everything", "usd_per_month": 20_000},
                {"name": "search", "selector": {"team": "search"}, "usd_per_month": 1_000},
                {"name": "coder", "selector": {"model": "qwen2.5-coder-32b"}, "usd_per_month": 900},
            ],
        }
    )


def readings(now: datetime) -> Iterator[dict[str, Any]]:
    """Of seven GPUs with a price, one without, and one that fell silent."""
    for at in _times(now):
        busy = 0.35 + 0.3 * (8 <= at.hour < 20)
        for name, (count, price, _) in _DEPLOYMENTS.items():
            for index in range(count):
                yield _reading(f"GPU-{name}-{index}", f"gpu-{name}", index, _gpu_name(price), at, busy)
        yield _reading("GPU-spare", "gpu-spare", 0, "L4", at, 0)
        if at < now - timedelta(days=3):
            yield _reading("GPU-old", "gpu-old", 0, "V100", at, 0.1)


def usage(now: datetime) -> Iterator[dict[str, Any]]:
    """Of all models by three teams, and of the odd names by nobody."""
    for at in _times(now):
        day = 2 if 8 <= at.hour < 20 else 1
        for name, (_, _, models) in _DEPLOYMENTS.items():
            for model, tokens in models.items():
                for team, part in _TEAMS:
                    yield _usage(model, at, tokens * part * day // 20, deployment=name, team=team)
    for name in ODD_NAMES:
        yield _usage(name, now - timedelta(hours=3), 10_000, gpu_uuid="GPU-spare")


def _times(now: datetime) -> Iterator[datetime]:
    at = now - _WEEK
    while at <= now:
        yield at
        at += _EVERY


def _gpu_name(price: float) -> str:
    return "H100 80GB" if price > 2 else "A100 40GB"


def _reading(uuid: str, host: str, index: int, name: str, at: datetime, busy: float) -> dict[str, Any]:
    return {
        "ts": _text(at),
        "event_id": f"{uuid} {_text(at)}",
        "uuid": uuid,
        "host": host,
        "gpu_index": index,
        "name": name,
        "utilization": busy,
        "power_w": 120 + 500 * busy,
        "mem_used_mb": 61_000,
        "mem_total_mb": 81_559,
    }


def _usage(model: str, at: datetime, tokens: int, **named: str) -> dict[str, Any]:
    return {
        "ts": _text(at),
        "event_id": f"{model[:40]} {named.get('team')} {_text(at)}",
        "model": model,
        "prompt_tokens": tokens * 3 // 4,
        "cached_prompt_tokens": tokens // 2,
        "completion_tokens": tokens // 4,
        "reasoning_tokens": tokens // 16,
        "requests": max(1, tokens // 2_000),
        **named,
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
