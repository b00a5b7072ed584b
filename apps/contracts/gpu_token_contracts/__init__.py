"""The contract between producers and processor: events, topics, collections and identities."""

from gpu_token_contracts.codec import decode_gpu_metric, decode_token_usage, encode
from gpu_token_contracts.errors import InvalidEvent, Reason
from gpu_token_contracts.events import Event, GpuMetric, TokenUsage
from gpu_token_contracts.identity import gpu_identity, metric_key, position, usage_key
from gpu_token_contracts.origin import Origin, origin_headers, origin_in, own_headers, resent_from
from gpu_token_contracts.timestamps import TimeBounds, format_ts, moment, to_us
from gpu_token_contracts.topics import (
    COLLECTION_GPU_METRICS,
    COLLECTION_GPUS,
    COLLECTION_TOKEN_USAGE,
    TOPIC_GPU_METRICS,
    TOPIC_TOKEN_USAGE,
    Decode,
    DlqHeader,
    TopicSpec,
    dlq_topic,
    require_two_topics,
    topic_registry,
)

__all__ = [
    "COLLECTION_GPUS",
    "COLLECTION_GPU_METRICS",
    "COLLECTION_TOKEN_USAGE",
    "TOPIC_GPU_METRICS",
    "TOPIC_TOKEN_USAGE",
    "Decode",
    "DlqHeader",
    "Event",
    "GpuMetric",
    "InvalidEvent",
    "Origin",
    "Reason",
    "TimeBounds",
    "TokenUsage",
    "TopicSpec",
    "decode_gpu_metric",
    "decode_token_usage",
    "dlq_topic",
    "encode",
    "format_ts",
    "gpu_identity",
    "metric_key",
    "moment",
    "origin_headers",
    "origin_in",
    "own_headers",
    "position",
    "require_two_topics",
    "resent_from",
    "to_us",
    "topic_registry",
    "usage_key",
]
