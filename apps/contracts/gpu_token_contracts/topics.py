"""Topics and collections as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gpu_token_contracts.codec import decode_gpu_metric, decode_token_usage
from gpu_token_contracts.events import GpuMetric, TokenUsage
from gpu_token_contracts.login import SettingsError
from gpu_token_contracts.timestamps import TimeBounds

TOPIC_GPU_METRICS = "gpu.metrics.v1"
TOPIC_TOKEN_USAGE = "token.usage.v1"

COLLECTION_GPU_METRICS = "gpu_metrics"
COLLECTION_TOKEN_USAGE = "token_usage"
COLLECTION_GPUS = "gpus"

Decode = Callable[[bytes | None, TimeBounds], GpuMetric | TokenUsage]


class DlqHeader(StrEnum):
    """Headers of a dead letter; its key and value are the refused event's own.

    A resent event keeps the three of its source, by which it is still known.
    """

    REASON = "dlq.reason"
    MESSAGE = "dlq.message"
    SOURCE_TOPIC = "dlq.source_topic"
    SOURCE_PARTITION = "dlq.source_partition"
    SOURCE_OFFSET = "dlq.source_offset"
    # Replaces a value that is too large even for the dead-letter topic. The value is still at its source.
    VALUE_OMITTED_BYTES = "dlq.value_omitted_bytes"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic's events are decoded with and where they are stored."""

    decode: Decode
    collection: str


def dlq_topic(topic: str) -> str:
    """Name of the dead-letter topic that belongs to `topic`."""
    return f"{topic}.dlq"


def require_two_topics(gpu_metrics: str, token_usage: str) -> None:
    """Raise SettingsError if both are one topic."""
    if gpu_metrics == token_usage:
        raise SettingsError(
            f"TOPIC_METRIC and TOPIC_TOKEN are both {gpu_metrics!r}: give the topics two names."
        )


def topic_registry(gpu_metrics: str, token_usage: str) -> Mapping[str, TopicSpec]:
    """Topic name to its spec; the names can be changed, what they carry cannot."""
    require_two_topics(gpu_metrics, token_usage)
    return MappingProxyType(
        {
            gpu_metrics: TopicSpec(decode_gpu_metric, COLLECTION_GPU_METRICS),
            token_usage: TopicSpec(decode_token_usage, COLLECTION_TOKEN_USAGE),
        }
    )
