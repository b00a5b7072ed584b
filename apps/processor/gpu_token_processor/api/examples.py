"""What the OpenAPI document shows. The numbers are those of the worked example of docs/cost-model.md."""

from typing import Any

Example = dict[str, Any]

_WINDOW: Example = {
    "start": "2026-01-01T11:59:00Z",
    "end": "2026-01-01T11:59:30Z",
    "seconds": 30.0,
    "chosen_by": "request",
}
_TOKENS: Example = {
    "events": 60,
    "prompt_tokens": 60_000,
    "completion_tokens": 26_400,
    "total_tokens": 86_400,
}
_WALL_CLOCK: Example = {
    "cost_usd": 0.00708333,
    "cost_per_token_usd": 8.19830e-8,
    "cost_per_million_tokens_usd": 0.0819830,
}
_UTILIZATION_WEIGHTED: Example = {
    "cost_usd": 0.00354167,
    "cost_per_token_usd": 4.09915e-8,
    "cost_per_million_tokens_usd": 0.0409915,
}

_AMOUNTS: Example = {
    "start": "2026-01-01T11:59:00Z",
    "end": "2026-01-01T11:59:30Z",
    "tokens": {
        "uncached_prompt": 60_000,
        "cached_prompt": 0,
        "completion": 26_400,
        "reasoning": 0,
        "total": 86_400,
        "requests": 60,
        "unpriced": 0,
    },
    "cost_usd": 0.00708333,
    "cost_usd_by_class": {"uncached_prompt": 0.00491898, "cached_prompt": 0.0, "completion": 0.00216435},
    "cost_per_million_tokens_usd": 0.0819830,
    "tokens_per_second": 2880.0,
}
_LEDGER: Example = {
    "rows": [{"key": {"model": "llama-3-70b"}, **_AMOUNTS}],
    "total": _AMOUNTS,
    "idle": {"fleet_usd": 0.0, "loaded_usd": 0.0, "unreported_usd": 0.0},
    "steps": None,
    "coverage": {
        "leased_seconds": 30.0,
        "covered_seconds": 30.0,
        "gap_seconds": 0.0,
        "unreported_seconds": 0.0,
        "without_utilization_seconds": 0.0,
        "without_power_seconds": 0.0,
        "default_price_share": 0.0,
        "engine_tokens": 86_400,
        "gateway_tokens": 0,
        "unattributed_tokens": 0,
        "unmatched_tokens": 0,
        "unpriced_tokens": 0,
        "dead_letters": 0,
        "conflicting_events": 0,
        "counter_resets": 0,
        "catalog_version": "4f77e02978e9",
        "read_from": "raw",
        "deleted_seconds": 0.0,
        "approximate_hours": 0,
    },
    "method": {"basis": "covered", "classes": ["weights"], "shared_by": "hour"},
}
_NO_LEDGER: Example = dict.fromkeys(_LEDGER)

_USAGE: Example = {
    **_NO_LEDGER,
    "window": _WINDOW,
    "reason": None,
    "totals": _TOKENS,
    "items": [{"model": "llama-3-70b", **_TOKENS}],
    "next_cursor": None,
}

_COST: Example = {
    **_LEDGER,
    "window": _WINDOW,
    "reason": None,
    "tokens": _TOKENS,
    "gpu_seconds": 30.0,
    "gap_seconds": 0.0,
    "wall_clock": _WALL_CLOCK,
    "utilization_weighted": _UTILIZATION_WEIGHTED,
    "energy": {
        "energy_kwh": 0.00233333,
        "price_per_kwh_usd": 0.2,
        "cost_usd": 0.000466667,
        "cost_per_token_usd": 5.40123e-9,
        "cost_per_million_tokens_usd": 0.00540123,
    },
    "idle_usd": 0.0,
    "gpus": [
        {
            "gpu_id": "gpu-a/0/RTX 3090",
            "host": "gpu-a",
            "gpu_index": 0,
            "name": "RTX 3090",
            "readings": 30,
            "covered_seconds": 30.0,
            "gap_seconds": 0.0,
            "price_source": "event",
            "total_tokens": 86_400,
            "wall_clock": _WALL_CLOCK,
            "utilization_weighted": _UTILIZATION_WEIGHTED,
            "energy_kwh": 0.00233333,
        }
    ],
    "models": [
        {
            "model": "llama-3-70b",
            **_TOKENS,
            "wall_clock": _WALL_CLOCK,
            "utilization_weighted": _UTILIZATION_WEIGHTED,
        }
    ],
}

_THROUGHPUT: Example = {
    **_NO_LEDGER,
    "window": _WINDOW,
    "reason": None,
    "tokens": _TOKENS,
    "events_per_second": 2.0,
    "prompt_tokens_per_second": 2000.0,
    "completion_tokens_per_second": 880.0,
    "total_tokens_per_second": 2880.0,
}

_GPU: Example = {
    "gpu_id": "gpu-a/0/RTX 3090",
    "ts": "2026-01-01T11:59:29Z",
    "reporting": True,
    "host": "gpu-a",
    "gpu_index": 0,
    "name": "RTX 3090",
    "uuid": None,
    "utilization": 0.5,
    "mem_used_mb": 12_288.0,
    "mem_total_mb": 24_576.0,
    "power_w": 280.0,
    "price_per_hour_usd": 0.85,
    "price_source": "event",
    "source": {"topic": "gpu.metrics.v1", "partition": 0, "offset": 30},
}

_GPU_INFO: Example = {"latest": _GPU, "items": [_GPU], "next_cursor": None}

_DEAD_LETTERS: Example = {
    "total": 1,
    "items": [
        {
            "topic": "token.usage.v1",
            "dlq_topic": "token.usage.v1.dlq",
            "reason": "invalid_json",
            "events": 1,
            "latest": "2026-01-01T12:00:00Z",
        }
    ],
}

# Rows of docs/examples/catalog.yml.
_CATALOG_VERSION = "0123456789ab"

_DEPLOYMENTS: Example = {
    "version": _CATALOG_VERSION,
    "items": [
        {
            "valid_from": None,
            "valid_to": None,
            "id": "small-models",
            "models": ["llama-3.1-8b", "bge-m3"],
            "endpoints": [],
            "gpus": [{"uuid": "GPU-5f2d0c11-0000-4000-8000-000000000001", "host": None, "gpu_index": None}],
            "role": "serve",
        }
    ],
}

_PRICES: Example = {
    "version": _CATALOG_VERSION,
    "items": [
        {
            "valid_from": "2026-03-01T00:00:00Z",
            "valid_to": "2026-03-01T06:00:00Z",
            "selector": {"kind": "instance_type", "value": "g6.xlarge"},
            "usd_per_gpu_hour": 0.31,
            "market": "spot",
            "zone": "us-east-1a",
            "source": None,
        }
    ],
}

_LEASES: Example = {
    "version": _CATALOG_VERSION,
    "items": [
        {
            "valid_from": "2026-03-01T00:00:00Z",
            "valid_to": None,
            "selector": {"kind": "host", "value": "p5-a"},
            "gpus": 8,
            "instance_type": "p5.48xlarge",
            "zone": None,
            "market": "on_demand",
        }
    ],
}

_HEALTH: Example = {"status": "unhealthy", "reasons": ["mongodb: no answer for 15 s"]}

_FULL_HEALTH: Example = {
    "status": "unhealthy",
    "reasons": ["mongodb: no answer for 15 s"],
    "version": "0.1.0",
    "warnings": [
        "the disk of kafka-1 is 82% full (16.4 of 20.0 GiB): "
        "give it a larger one, or keep events for less long"
    ],
    "disks": [
        {"name": "kafka-1", "used_bytes": 17609365914, "total_bytes": 21474836480, "used_share": 0.82},
    ],
    "consumer": {
        "phase": "running",
        "seconds_since_poll": 0.1,
        "assigned_partitions": 6,
        "lag_events": 1200,
        "paused": True,
    },
    "kafka": None,
    "mongodb": "mongodb: no answer for 15 s",
    "dead_letter_guard": None,
}

_PROBLEM: Example = {
    "type": "about:blank",
    "title": "A parameter is not acceptable",
    "status": 422,
    "detail": "start: must be a time with zone, such as 2026-01-01T12:00:00Z.",
    "errors": [{"parameter": "start", "message": "must be a time with zone, such as 2026-01-01T12:00:00Z"}],
}

_RATES: Example = {
    "llama-3-70b": {
        "input_cost_per_token": 1.63966e-7,
        "output_cost_per_token": 1.63966e-7,
        "cache_read_input_token_cost": None,
    }
}

_BUDGETS: Example = {
    "month": {
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-02-01T00:00:00Z",
        "counted_until": "2026-01-11T00:00:00Z",
    },
    "budgets": [
        {
            "name": "fleet",
            "selector": {},
            "limit_usd": 60_000.0,
            "spent_usd": 3_600.0,
            "spent_share": 0.06,
            "forecast_usd": 14_400.0,
            "state": "within",
            "thresholds": [{"share": 0.8, "crossed_at": None}, {"share": 1.0, "crossed_at": None}],
        },
        {
            "name": "search-team",
            "selector": {"team": "search"},
            "limit_usd": 5_000.0,
            "spent_usd": 3_000.0,
            "spent_share": 0.6,
            "forecast_usd": 12_000.0,
            "state": "warning",
            "thresholds": [
                {"share": 0.5, "crossed_at": "2026-01-08T13:00:21Z"},
                {"share": 0.8, "crossed_at": None},
                {"share": 1.0, "crossed_at": None},
            ],
        },
    ],
}

# By the name of the schema.
EXAMPLES = {
    "UsageAnswer": _USAGE,
    "CostAnswer": _COST,
    "ThroughputAnswer": _THROUGHPUT,
    "RatesAnswer": _RATES,
    "BudgetsAnswer": _BUDGETS,
    "GpuInfoAnswer": _GPU_INFO,
    "DeadLettersAnswer": _DEAD_LETTERS,
    "DeploymentsAnswer": _DEPLOYMENTS,
    "PricesAnswer": _PRICES,
    "LeasesAnswer": _LEASES,
    "HealthAnswer": _HEALTH,
    "FullHealthAnswer": _FULL_HEALTH,
    "Problem": _PROBLEM,
}
