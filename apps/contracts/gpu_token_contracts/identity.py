"""The identities of events and GPUs, and the partition keys.

Each is text made of parts between slashes, and no two things have the same text: % and / within a
part are percent-encoded, and an absent part is empty.
"""

from typing import Protocol

from gpu_token_contracts.events import GpuMetric, TokenUsage


class GpuNamed(Protocol):
    """What names a GPU."""

    @property
    def uuid(self) -> str | None:
        """The GPU's, or a MIG slice's."""

    @property
    def host(self) -> str | None:
        """Where it is."""

    @property
    def gpu_index(self) -> int | None:
        """Its number on the host."""

    @property
    def name(self) -> str | None:
        """Its model."""


def position(topic: str, partition: int, offset: int) -> str:
    """`<topic>:<partition>:<offset>`, by which an event without an id of its own is known."""
    return f"{topic}:{partition}:{offset}"


def gpu_identity(metric: GpuNamed) -> str:
    """What identifies a GPU: its uuid, or host, index and model name if it has none.

    Host and index do not suffice: hosts have reported two GPUs with index 0.
    """
    uuid = metric.uuid
    if uuid is not None:
        # Runs once for each reading: without a call for nearly all of them.
        return _part(uuid) if "%" in uuid or "/" in uuid else uuid
    return f"{_part(metric.host)}/{metric.gpu_index}/{_part(metric.name)}"


def metric_key(metric: GpuMetric) -> bytes:
    """Message key of a GPU metric: one GPU's readings stay in order."""
    return f"{_part(metric.host)}/{gpu_identity(metric)}".encode()


def usage_key(usage: TokenUsage) -> bytes:
    """Message key of a usage event: what one GPU, deployment or model served stays in order.

    The number of slashes tells the last two from a GPU.
    """
    host = _part(usage.host)
    uuid = usage.gpu_uuid if usage.gpu_uuid is not None else usage.gpu_uuids[0] if usage.gpu_uuids else None
    if uuid is not None:
        return f"{host}/{_no_index(_part(uuid))}".encode()
    if usage.gpu_index is not None:
        return f"{host}/{usage.gpu_index}".encode()
    if usage.deployment is not None:
        return f"{host}//{_part(usage.deployment)}".encode()
    return f"{host}///{_part(usage.model)}".encode()


def _part(text: str | None) -> str:
    return "" if text is None else text.replace("%", "%25").replace("/", "%2F")


def _no_index(uuid: str) -> str:
    """The uuid; if it could be an index, with its first digit percent-encoded."""
    return f"%3{uuid}" if uuid.isdigit() else uuid
