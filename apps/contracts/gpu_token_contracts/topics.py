"""Topics and collections as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gpu_token_contracts.events import Event, GpuMetric, TokenUsage

TOPIC_GPU_METRICS = "gpu.metrics.v1"
TOPIC_TOKEN_USAGE = "token.usage.v1"

COLLECTION_GPU_METRICS = "gpu_metrics"
COLLECTION_TOKEN_USAGE = "token_usage"
COLLECTION_GPUS = "gpus"


class DlqHeader(StrEnum):
    """Headers of a dead letter; its key and value are the refused event's own.

    A resent event keeps the three of its source, by which it is still known.
    """

    REASON = "dlq.reason"
    MESSAGE = "dlq.message"
    SOURCE_TOPIC = "dlq.source_topic"
    SOURCE_PARTITION = "dlq.source_partition"
    SOURCE_OFFSET = "dlq.source_offset"
    # Instead of a value that is too large even for the dead-letter topic; it still stands at its source.
    VALUE_OMITTED_BYTES = "dlq.value_omitted_bytes"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic carries and where it is stored."""

    event_type: type[Event]
    collection: str


def dlq_topic(topic: str) -> str:
    """Name of the dead-letter topic that belongs to `topic`."""
    return f"{topic}.dlq"


def topic_registry(
    gpu_metrics: str = TOPIC_GPU_METRICS, token_usage: str = TOPIC_TOKEN_USAGE
) -> Mapping[str, TopicSpec]:
    """Topic name to its spec; the names can be changed, what they carry cannot."""
    if gpu_metrics == token_usage:
        raise ValueError(f"Both topics are {gpu_metrics!r}: give TOPIC_METRIC and TOPIC_TOKEN two names.")
    return MappingProxyType(
        {
            gpu_metrics: TopicSpec(GpuMetric, COLLECTION_GPU_METRICS),
            token_usage: TopicSpec(TokenUsage, COLLECTION_TOKEN_USAGE),
        }
    )


TOPICS = topic_registry()
