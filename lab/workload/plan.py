"""What the workload consists of, and how the collector reads it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

HOST = "gpu-lab-1"
EXPORTER_PORT = 19400
GATEWAYS = "gateways"
"""fleet.yml's name for the networks that may reach the intake."""


@dataclass(frozen=True)
class Gpu:
    """One GPU of the machine."""

    index: int
    uuid: str
    name: str
    memory_mib: int
    full_power_w: float


@dataclass(frozen=True)
class Engine:
    """One engine: its model, on one GPU or on several together."""

    model: str
    port: int
    gpus: tuple[Gpu, ...]
    # How long it takes for a token of a prompt that is not cached, and for one of an answer.
    prompt_seconds: float
    answer_seconds: float


def _gpu(index: int, name: str, memory_mib: int, full_power_w: float) -> Gpu:
    return Gpu(index, f"GPU-1ab00000-0000-4000-8000-00000000000{index}", name, memory_mib, full_power_w)


# catalog.yml names the same models and GPUs.
ENGINES = (
    Engine(
        "llama-3.3-70b",
        18000,
        tuple(_gpu(index, "NVIDIA H100 80GB HBM3", 81559, 700) for index in range(4)),
        prompt_seconds=0.00004,
        answer_seconds=0.004,
    ),
    Engine(
        "qwen3-8b", 18001, (_gpu(4, "NVIDIA L40S", 46068, 350),), prompt_seconds=0.00008, answer_seconds=0.003
    ),
)
TEAMS = ("search", "support", "research")


def sources(address: IPv4Address) -> list[dict[str, object]]:
    """The collector's sources (producers_sources) for a workload at this address."""
    engines: list[dict[str, object]] = [
        {
            "name": engine.model,
            "type": "vllm",
            "target": f"http://{address}:{engine.port}/metrics",
            "interval_seconds": 5,
            "labels": {"host": HOST},
        }
        for engine in ENGINES
    ]
    return [
        *engines,
        {
            "name": "gpus",
            "type": "dcgm",
            "target": f"http://{address}:{EXPORTER_PORT}/metrics",
            "interval_seconds": 10,
            "labels": {"host": HOST},
        },
        {"name": "gateway", "type": "litellm"},
    ]
