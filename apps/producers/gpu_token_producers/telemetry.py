"""GPU readings that agree with the requests a GPU served."""

from datetime import datetime

from gpu_token_contracts import GpuMetric

from gpu_token_producers.gpus import GpuSeed

_IDLE_POWER_SHARE = 0.1
# Weights stay in memory; the cache of running requests comes on top.
_IDLE_MEMORY_SHARE = 0.6
_BUSY_MEMORY_SHARE = 0.35


def gpu_metric(gpu: GpuSeed, *, host: str, ts: datetime, event_id: str, utilization: float) -> GpuMetric:
    """A reading whose power (W) and memory (MiB) follow from the utilization (0..1)."""
    power_share = _IDLE_POWER_SHARE + (1 - _IDLE_POWER_SHARE) * utilization
    memory_share = _IDLE_MEMORY_SHARE + _BUSY_MEMORY_SHARE * utilization
    return GpuMetric(
        ts=ts,
        event_id=event_id,
        host=host,
        gpu_index=gpu.gpu_index,
        name=gpu.name,
        uuid=gpu.uuid,
        utilization=round(utilization, 4),
        mem_used_mb=round(gpu.mem_total_mb * memory_share),
        mem_total_mb=gpu.mem_total_mb,
        power_w=round(gpu.power_w * power_share, 1),
        price_per_hour_usd=gpu.price_per_hour_usd,
    )
