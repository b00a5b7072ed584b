"""How a partition's files are made fit for a topic that was made anew, whose leaders count from 0 again."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# The head of a batch of records (https://kafka.apache.org/documentation/#recordbatch). The check sum does not
# cover the leader's epoch, so that can be written in place.
_HEAD = struct.Struct(">qiibIhiqqqhii")
_EPOCH = struct.Struct(">i")
_EPOCH_AT = 12
_MAGIC = 2
# The length does not count the offset and itself.
_BEFORE_LENGTH = 12
_OFFSET_ENTRY = struct.Struct(">ii")
_TIME_ENTRY = struct.Struct(">qi")
# How far apart Kafka's own entries are.
_INDEX_INTERVAL_BYTES = 4096


class NotWhole(Exception):
    """A file holds something else than batches; the message is one sentence."""


class Batch(NamedTuple):
    """A batch's place in its file, its last offset, and its latest time."""

    position: int
    end: int
    last_offset: int
    time_ms: int


def batches(data: mmap.mmap) -> Iterator[Batch]:
    """The whole batches of a file."""
    position = 0
    while position + _HEAD.size <= len(data):
        head = _HEAD.unpack_from(data, position)
        end = position + _BEFORE_LENGTH + head[1]
        if head[3] != _MAGIC or not position + _HEAD.size <= end <= len(data):
            return
        yield Batch(position, end, head[0] + head[6], head[8])
        position = end


def base_offset(segment: Path) -> int:
    """The offset that a segment's name says."""
    return int(segment.stem)


def renew(segment: Path) -> int:
    """Set the leader's epoch of each batch to 0, write both indexes, and return the offset that comes next.

    The indexes of a broker that died are not whole, and Kafka trusts them after a clean stop.
    """
    reached = base = base_offset(segment)
    offsets, times = bytearray(), bytearray()
    latest_ms, latest_offset, written_ms = -1, base, -1
    whole = indexed = 0
    for batch in renewed(segment):
        reached, whole = batch.last_offset + 1, batch.end
        if batch.time_ms > latest_ms:
            latest_ms, latest_offset = batch.time_ms, batch.last_offset
        if batch.position - indexed >= _INDEX_INTERVAL_BYTES:
            indexed = batch.position
            offsets += _OFFSET_ENTRY.pack(batch.last_offset - base, batch.position)
            if latest_ms > written_ms:
                times += _TIME_ENTRY.pack(latest_ms, latest_offset - base)
                written_ms = latest_ms
    # Kafka has cut off what was written in part when it started, before it named the directory a stray.
    if whole != segment.stat().st_size:
        raise NotWhole(
            f"{segment} holds no whole batch from byte {whole} on; if what follows may go, cut it off there "
            f"(truncate --size={whole})."
        )
    # By the last entry Kafka knows how old the segment is.
    if latest_ms > written_ms:
        times += _TIME_ENTRY.pack(latest_ms, latest_offset - base)
    write(segment.with_suffix(".index"), bytes(offsets))
    write(segment.with_suffix(".timeindex"), bytes(times))
    return reached


def renewed(segment: Path) -> Iterator[Batch]:
    """The batches, each with epoch 0."""
    # An empty file cannot be mapped.
    if not segment.stat().st_size:
        return
    with segment.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for batch in batches(data):
            _EPOCH.pack_into(data, batch.position + _EPOCH_AT, 0)
            yield batch


def write(path: Path, content: bytes) -> None:
    """Write a file that belongs to whom its folder belongs to."""
    path.write_bytes(content)
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)
