"""The identities of events and GPUs, and the partition keys."""

from gpu_token_contracts.events import GpuMetric, TokenUsage

_UNKNOWN_HOST = "unknown"


def position(topic: str, partition: int, offset: int) -> str:
    """`<topic>:<partition>:<offset>`, by which an event without an id of its own is known."""
    return f"{topic}:{partition}:{offset}"


def gpu_identity(metric: GpuMetric) -> str:
    """What identifies a GPU: its uuid, or host, index and model name if it has none.

    Host and index do not suffice: hosts have reported two GPUs with index 0.
    """
    return metric.uuid or f"{metric.host or _UNKNOWN_HOST}/{metric.gpu_index}/{metric.name or ''}"


def metric_key(metric: GpuMetric) -> bytes:
    """Message key of a GPU metric: one GPU's readings stay in order."""
    return f"{metric.host or _UNKNOWN_HOST}/{gpu_identity(metric)}".encode()


def usage_key(usage: TokenUsage) -> bytes:
    """Message key of a usage event: what one GPU served stays in order."""
    return f"{usage.host or _UNKNOWN_HOST}/{usage.gpu_uuid or usage.gpu_index}".encode()
