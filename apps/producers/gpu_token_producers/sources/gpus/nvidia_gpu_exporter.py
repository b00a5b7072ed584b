"""nvidia_gpu_exporter (utkuozdemir): what nvidia-smi says, as metrics."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from gpu_token_contracts import GpuMetric

from gpu_token_producers.sources.exposition import Sample
from gpu_token_producers.sources.gpus.hosts import host_of
from gpu_token_producers.sources.gpus.readings import NO_DEPLOYMENTS, Deployments, Metric, Sightings, index_in
from gpu_token_producers.sources.labels import Labels

_BYTES = 2.0**20

INFO = "nvidia_smi_gpu_info"
MIG_INFO = "nvidia_smi_mig_info"
METRICS: Mapping[str, Metric] = {
    "nvidia_smi_utilization_gpu_ratio": Metric("utilization"),
    "nvidia_smi_memory_used_bytes": Metric("used_mib", _BYTES),
    "nvidia_smi_memory_total_bytes": Metric("total_mib", _BYTES),
    "nvidia_smi_power_draw_watts": Metric("power_w"),
    # Of GPU instances, where the exporter asks the driver's library instead of nvidia-smi.
    "nvidia_smi_mig_graphics_activity_ratio": Metric("engine_active"),
    "nvidia_smi_mig_memory_used_bytes": Metric("used_mib", _BYTES),
    "nvidia_smi_mig_memory_total_bytes": Metric("total_mib", _BYTES),
}
WANTED = frozenset(METRICS) | {INFO, MIG_INFO}

_CARD = "gpu-"


def exporter_readings(
    samples: Iterable[Sample],
    target: str,
    at: datetime,
    labels: Labels,
    deployments: Deployments = NO_DEPLOYMENTS,
) -> list[GpuMetric]:
    """One reading of each GPU or MIG slice that the samples name, of the time `at`, which needs a zone.

    `target` is the address that they came from. `deployments` says by uuid what a GPU serves. The uuids are
    those of nvidia-smi and DCGM, so that a GPU is the same whoever watches it.
    """
    sightings = Sightings()
    for sample in samples:
        # Others stay while the exporter reads nothing, and so prove no GPU.
        if sample.name not in WANTED:
            continue
        given = sample.labels
        uuid = card_uuid(given.get("uuid", ""))
        if uuid is None:
            continue
        index = index_in(given.get("index"))
        seen = sightings.of(uuid, host_of(labels, given, target), index, given.get("gpu_instance_id"))
        if seen is None:
            continue
        if sample.name == INFO:
            seen.name = seen.name or given.get("name")
        elif sample.name == MIG_INFO:
            seen.profile = seen.profile or given.get("profile")
        metric = METRICS.get(sample.name)
        if metric is not None:
            seen.measure(metric.measured, sample.value / metric.divisor)
    return sightings.readings(target, at, labels, deployments)


def card_uuid(reported: str) -> str | None:
    """`GPU-5b2f…` for `5b2f…`: the exporter cuts off the `GPU-` of nvidia-smi, and writes lower case."""
    rest = reported.strip().lower().removeprefix(_CARD)
    return f"GPU-{rest}" if rest else None
