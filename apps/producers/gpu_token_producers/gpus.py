"""The GPUs whose readings a producer sends."""

from pathlib import Path

import msgspec
from gpu_token_contracts.events import GpuIndex, MemoryMib, PowerW, PricePerHourUsd, Text

from gpu_token_producers.errors import ProducerError

BUILT_IN_SEED = Path(__file__).with_name("gpus.json")


class GpuSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One GPU of the seed file: memory in MiB, power under full load in W, price in USD per hour."""

    gpu_index: GpuIndex
    name: Text
    uuid: Text
    mem_total_mb: MemoryMib
    power_w: PowerW
    price_per_hour_usd: PricePerHourUsd


def load_gpus(path: Path) -> list[GpuSeed]:
    """The GPUs of a seed file; raises ProducerError with a sentence if it cannot be used."""
    try:
        gpus = msgspec.json.decode(path.read_bytes(), type=list[GpuSeed])
    except (OSError, ValueError) as error:
        raise ProducerError(f"GPU_SEED {path} cannot be used: {error}.") from error
    if not gpus:
        raise ProducerError(f"GPU_SEED {path} names no GPU: list at least one.")
    uuids = [gpu.uuid for gpu in gpus]
    twice = sorted({uuid for uuid in uuids if uuids.count(uuid) > 1})
    if twice:
        raise ProducerError(f"GPU_SEED {path} has uuid {twice[0]} twice: give each GPU its own.")
    return gpus
