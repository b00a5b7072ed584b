"""What the kafka_* modules share that look into a broker's data directory: how Kafka names what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

METADATA = "__cluster_metadata-0"
# `topic-0`, and `topic-0.0123…-stray` of a partition that the metadata did not know when the broker started.
_NAME = re.compile(r"(?P<topic>[\w.-]+)-(?P<number>\d+)(\.[0-9a-f]{32}(?P<stray>-stray))?")


class Partition(NamedTuple):
    """A partition's directory."""

    topic: str
    number: int
    stray: bool
    path: Path

    def segments(self) -> list[Path]:
        """Its files with events, oldest first."""
        return sorted(self.path.glob("*.log"))

    def size_bytes(self) -> int:
        """What its events take. A running broker may remove a file meanwhile."""
        return sum(size(path) for path in self.segments())


def read_text(path: Path) -> str:
    """Read a file; a file that is not there reads as empty."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def read_properties(data_dir: str | Path) -> dict[str, str]:
    """Read what Kafka wrote about the directory when it formatted it; nothing if it never did."""
    text = read_text(Path(data_dir, "meta.properties"))
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def size(path: Path) -> int:
    """A file's size; 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def partitions(data_dir: Path) -> Iterator[Partition]:
    """The directories of partitions, strays included, without those that Kafka is about to delete."""
    for path in sorted(data_dir.iterdir()) if data_dir.is_dir() else []:
        found = _NAME.fullmatch(path.name)
        if found and path.name != METADATA and path.is_dir():
            yield Partition(found["topic"], int(found["number"]), bool(found["stray"]), path)


def has_metadata(data_dir: Path) -> bool:
    """Whether there is a record of metadata: in the log, or in a snapshot of it."""
    files = (data_dir / METADATA).glob("*.*")
    return any(path.suffix in (".log", ".checkpoint") and size(path) for path in files)
