"""dcgm-exporter: its metrics and labels, up to 4.8 and from 4.9 on."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from gpu_token_contracts import GpuMetric

from gpu_token_producers.sources.exposition import Sample
from gpu_token_producers.sources.gpus.hosts import host_of
from gpu_token_producers.sources.gpus.readings import NO_DEPLOYMENTS, Deployments, Metric, Sightings, index_in
from gpu_token_producers.sources.labels import Labels

_PERCENT = 100.0
_BYTES = 2.0**20

UP_TO_4_8: Mapping[str, Metric] = {
    "DCGM_FI_DEV_GPU_UTIL": Metric("utilization", _PERCENT),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": Metric("engine_active"),
    "DCGM_FI_DEV_FB_USED": Metric("used_mib"),
    "DCGM_FI_DEV_FB_FREE": Metric("free_mib"),
    "DCGM_FI_DEV_FB_RESERVED": Metric("reserved_mib"),
    # Not among the defaults; some add it.
    "DCGM_FI_DEV_FB_TOTAL": Metric("total_mib"),
    "DCGM_FI_DEV_POWER_USAGE": Metric("power_w"),
}
FROM_4_9: Mapping[str, Metric] = {
    "DCGM_FI_DEV_GPU_UTIL_RATIO": Metric("utilization"),
    "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO": Metric("engine_active"),
    "DCGM_FI_DEV_FB_USED_BYTES": Metric("used_mib", _BYTES),
    "DCGM_FI_DEV_FB_FREE_BYTES": Metric("free_mib", _BYTES),
    "DCGM_FI_DEV_FB_RESERVED_BYTES": Metric("reserved_mib", _BYTES),
    "DCGM_FI_DEV_FB_CAPACITY_BYTES": Metric("total_mib", _BYTES),
    "DCGM_FI_DEV_BOARD_POWER_WATTS": Metric("power_w"),
}
METRICS: Mapping[str, Metric] = {**UP_TO_4_8, **FROM_4_9}
# Any metric of the exporter proves that its GPU is there. These are in every set that it ships.
PRESENCE = frozenset(
    {"DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "DCGM_FI_DEV_XID_ERRORS"}
)
WANTED = frozenset(METRICS) | PRESENCE

_PREFIX = "DCGM_"
# A Prometheus server that has such a label itself keeps the exporter's as exported_….
_UUID = ("exported_UUID", "UUID", "exported_uuid", "uuid", "gpu_uuid")
_INDEX = ("exported_gpu", "gpu")
_NAME = ("exported_modelName", "modelName", "model_name")
_INSTANCE_ID = ("exported_GPU_I_ID", "GPU_I_ID")
_PROFILE = ("exported_GPU_I_PROFILE", "GPU_I_PROFILE")


def dcgm_readings(
    samples: Iterable[Sample],
    target: str,
    at: datetime,
    labels: Labels,
    deployments: Deployments = NO_DEPLOYMENTS,
) -> list[GpuMetric]:
    """One reading of each GPU or MIG slice that the samples name, of the time `at`, which needs a zone.

    `target` is the address that they came from. `deployments` says by uuid what a GPU serves. mig.py explains
    the uuid of a slice; of a card that reports beside its slices there is no reading.
    """
    sightings = Sightings()
    for sample in samples:
        if not sample.name.startswith(_PREFIX):
            continue
        given = sample.labels
        seen = sightings.of(
            _first(given, _UUID),
            host_of(labels, given, target),
            index_in(_first(given, _INDEX)),
            _first(given, _INSTANCE_ID),
        )
        if seen is None:
            continue
        seen.name = seen.name or _first(given, _NAME)
        seen.profile = seen.profile or _first(given, _PROFILE)
        metric = METRICS.get(sample.name)
        if metric is not None:
            seen.measure(metric.measured, sample.value / metric.divisor)
    return sightings.readings(target, at, labels, deployments)


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((labels[name] for name in names if labels.get(name)), None)
