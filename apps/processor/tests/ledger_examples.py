"""The worked examples of docs/cost-model.md. `python apps/processor/tests/ledger_examples.py` writes them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from ledger_oracle import oracle

FOLDER = Path(__file__).parents[3] / "docs" / "examples" / "cost"
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
END = START + timedelta(hours=1)
H100 = "NVIDIA H100 80GB HBM3"
# One reading covers this long; METRIC_GAP_SECONDS as it is by default.
READING_SECONDS = 30

Event = dict[str, Any]


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def readings(minutes: float = 60, **gpu: Any) -> list[Event]:
    """Of one GPU, from the hour's start on."""
    count = int(minutes * 60 / READING_SECONDS)
    return [{"ts": at(number * READING_SECONDS / 60), **gpu} for number in range(count)]


def hour_of(model: str, prompt: int, completion: int, **fields: Any) -> Event:
    """One usage event for the tokens of the whole hour."""
    return {
        "ts": at(60),
        "interval_seconds": 3600,
        "model": model,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        **fields,
    }


def tp8() -> Iterator[Event]:
    for number in range(8):
        yield from readings(uuid=f"GPU-{number}", host="h100-1", gpu_index=number, name=H100)
    yield hour_of("llama-3-70b", 1_600_000, 400_000, gpu_uuid="GPU-3")


def two_models_on_a_gpu() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", name="L40S")
    yield hour_of("chat", 600_000, 300_000)
    yield hour_of("embed", 300_000, 0)


def price_change() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", name="L40S")
    yield hour_of("chat", 900_000, 100_000, gpu_uuid="GPU-0")


def lease_against_telemetry() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", host="rented-1", gpu_index=0)
    yield from readings(15, uuid="GPU-1", host="rented-1", gpu_index=1)
    yield hour_of("chat", 900_000, 100_000, gpu_uuid="GPU-0")


def mig_thirds() -> Iterator[Event]:
    for number in range(3):
        yield from readings(uuid=f"MIG-{number}", name="H100")
    yield hour_of("chat", 900_000, 100_000)
    yield hour_of("code", 1_500_000, 500_000)


def classes_by_phase_time() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", name="H100")
    yield hour_of(
        "chat", 1_680_000, 150_000, cached_prompt_tokens=1_200_000, prefill_seconds=600, decode_seconds=3000
    )


def classes_by_weights() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", name="H100")
    yield hour_of("chat", 1_680_000, 150_000, cached_prompt_tokens=1_200_000)


def engine_and_gateway() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", name="H100")
    yield hour_of("chat", 800_000, 200_000, deployment="chat-0", requests=500, measured_by="engine")
    for team, prompt, completion, requests in (
        ("red", 400_000, 100_000, 250),
        ("blue", 240_000, 60_000, 150),
    ):
        yield hour_of(
            "chat",
            prompt,
            completion,
            deployment="chat-0",
            requests=requests,
            team=team,
            measured_by="gateway",
        )


def prefill_decode_pair() -> Iterator[Event]:
    yield from readings(uuid="GPU-0", name="H100")
    yield from readings(uuid="GPU-1", name="L40S")
    yield hour_of("chat", 900_000, 100_000)


# By the name of its folder: its events, and how it is asked.
EXAMPLES = {
    "tp8": (tp8, ("model",), "covered"),
    "two-models-on-a-gpu": (two_models_on_a_gpu, ("model",), "covered"),
    "price-change": (price_change, ("model",), "covered"),
    "lease-against-telemetry": (lease_against_telemetry, ("model",), "leased"),
    "mig-thirds": (mig_thirds, ("deployment",), "covered"),
    "classes-by-phase-time": (classes_by_phase_time, ("model",), "covered"),
    "classes-by-weights": (classes_by_weights, ("model",), "covered"),
    "engine-and-gateway": (engine_and_gateway, ("team",), "covered"),
    "prefill-decode-pair": (prefill_decode_pair, ("deployment",), "covered"),
}


def events_text(name: str) -> str:
    return "".join(json.dumps(event) + "\n" for event in EXAMPLES[name][0]())


def answer(name: str) -> dict[str, Any]:
    """What the oracle says to the files of an example."""
    _, group_by, basis = EXAMPLES[name]
    return oracle(
        [json.loads(line) for line in (FOLDER / name / "events.jsonl").read_text().splitlines()],
        yaml.safe_load((FOLDER / name / "catalog.yml").read_text()),
        start=START,
        end=END,
        step=None,
        group_by=group_by,
        basis=basis,
        gap_seconds=READING_SECONDS,
        default_price=0,
    )


def answer_text(name: str) -> str:
    return json.dumps(answer(name), default=number, indent=2) + "\n"


def number(value: Decimal) -> int | float:
    return int(value) if value == int(value) else float(value)


if __name__ == "__main__":
    for name in EXAMPLES:
        (FOLDER / name / "events.jsonl").write_text(events_text(name))
        (FOLDER / name / "expected.json").write_text(answer_text(name))
