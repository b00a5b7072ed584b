"""The GPUs, as dcgm-exporter shows them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from lab.workload import plan

_IDLE_POWER_SHARE = 0.15
# Of memory: weights, and a cache that is reserved at the start.
_MEMORY_SHARE = 0.9
_LABELS = ("gpu", "UUID", "device", "modelName", "Hostname")


class Exporter:
    """One for all GPUs of the machine."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._utilization = self._gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).")
        self._power = self._gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).")
        self._used = self._gauge("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).")
        self._free = self._gauge("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).")

    def listen(self, address: str) -> None:
        """Answer /metrics."""
        start_http_server(plan.EXPORTER_PORT, address, self._registry)

    def show(self, gpus: Iterable[plan.Gpu], utilization: float) -> None:
        """GPUs that work together, all to the same part (0 to 1) of their time."""
        for gpu in gpus:
            labels = (str(gpu.index), gpu.uuid, f"nvidia{gpu.index}", gpu.name, plan.HOST)
            power_share = _IDLE_POWER_SHARE + (1 - _IDLE_POWER_SHARE) * utilization
            self._utilization.labels(*labels).set(round(utilization * 100))
            self._power.labels(*labels).set(round(gpu.full_power_w * power_share, 3))
            self._used.labels(*labels).set(round(gpu.memory_mib * _MEMORY_SHARE))
            self._free.labels(*labels).set(gpu.memory_mib - round(gpu.memory_mib * _MEMORY_SHARE))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, _LABELS, registry=self._registry)
