"""The exporters of GPU readings, by the type that a source names."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from gpu_token_contracts import GpuMetric

from gpu_token_producers.sources.exposition import Sample
from gpu_token_producers.sources.gpus import dcgm, nvidia_gpu_exporter
from gpu_token_producers.sources.gpus.readings import Deployments
from gpu_token_producers.sources.labels import Labels

Readings = Callable[[Iterable[Sample], str, datetime, Labels, Deployments], list[GpuMetric]]


class Exporter(NamedTuple):
    """The names of what it exports, and how they become readings of a target at a time."""

    wanted: frozenset[str]
    readings: Readings


EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        "dcgm": Exporter(dcgm.WANTED, dcgm.dcgm_readings),
        "nvidia_gpu_exporter": Exporter(nvidia_gpu_exporter.WANTED, nvidia_gpu_exporter.exporter_readings),
    }
)
