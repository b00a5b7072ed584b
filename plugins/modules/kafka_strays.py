#!/usr/bin/python
"""Give topics that were made anew the events that lie in stray directories."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_files import Partition, partitions
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_segments import (
    NotWhole,
    base_offset,
    renew,
    write,
)

DOCUMENTATION = """
module: kafka_strays
short_description: Give topics that were made anew the events that lie in stray directories
description:
  - A broker that lost its metadata names the directories of all partitions C(-stray). Once the topics have
    been made anew, and the broker was stopped well, each takes the place of the new, empty directory.
  - Events keep their offsets. Nothing is changed if a partition's events lie in two places, or if the new
    directory has some.
  - Leaders' epochs start from 0, as in the new topic, and what is remembered of idempotent producers is
    dropped. The metadata gives their ids out again, so the broker could take new events for repeated ones.
  - A second run finds nothing to do.
options:
  data_dir:
    description: The broker's log directory.
    type: path
    required: true
  topics:
    description: The topics. Stray directories of others stay as they are.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Reports what would be restored.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Put the events back
  gpu_token.pipeline.kafka_strays:
    data_dir: /srv/kafka/data
    topics: [token.usage.v1, __consumer_offsets]
"""

RETURN = """
restored:
  description: C(topic:partition:offset) for each partition, with the offset that comes next.
  returned: always
  type: list
  elements: str
"""

STOPPED_WELL = ".kafka_cleanshutdown"


class StraysError(Exception):
    """The events cannot be put back; the message is one sentence."""


class Move(NamedTuple):
    """A stray directory, and the new one whose place it takes."""

    stray: Partition
    new: Partition


def chosen(strays: list[Partition]) -> Partition:
    """Find the one that counts of those of one partition: what is lost twice leaves two."""
    filled = [stray for stray in strays if stray.size_bytes()]
    if len(filled) > 1:
        names = " and ".join(stray.path.name for stray in filled)
        raise StraysError(
            f"{names} hold events of the same partition, and one can take its place; move the others away."
        )
    return (filled or sorted(strays, key=lambda stray: base_offset(stray.segments()[-1])))[-1]


def plan(data_dir: Path, topics: list[str]) -> list[Move]:
    """Find what to move, for the topics that have events to miss."""
    found = [partition for partition in partitions(data_dir) if partition.topic in topics]
    missed = {partition.topic for partition in found if partition.stray and partition.size_bytes()}
    new = {(partition.topic, partition.number): partition for partition in found if not partition.stray}
    strays: dict[tuple[str, int], list[Partition]] = {}
    for partition in found:
        if partition.stray and partition.topic in missed and partition.segments():
            strays.setdefault((partition.topic, partition.number), []).append(partition)
    moves = []
    for (topic, number), several in sorted(strays.items()):
        if (topic, number) not in new:
            raise StraysError(
                f"Partition {number} of {topic} does not exist; create the topic with that partition first."
            )
        if new[topic, number].size_bytes():
            raise StraysError(
                f"{new[topic, number].path} holds new events, whose place those in "
                f"{chosen(several).path.name} cannot take; let the consumers read the new ones, then delete "
                "the topic, and run this again."
            )
        moves.append(Move(chosen(several), new[topic, number]))
    return moves


def prepare(move: Move) -> int:
    """Make the stray directory one of the new topic, and return the offset that comes next."""
    folder = move.stray.path
    segments = move.stray.segments()
    reached = [renew(segment) for segment in segments][-1]
    for remembered in folder.glob("*.snapshot"):
        remembered.unlink()
    # Version, number of entries, and from which offset on epoch 0 counts.
    write(folder / "leader-epoch-checkpoint", f"0\n1\n0 {base_offset(segments[0])}\n".encode())
    write(folder / "partition.metadata", (move.new.path / "partition.metadata").read_bytes())
    return reached


def swap(move: Move) -> None:
    """Put the stray directory in the place of the new one. Cut off, it is made again."""
    shutil.rmtree(move.new.path)
    move.stray.path.rename(move.new.path)


def restore(data_dir: Path, topics: list[str], dry_run: bool = False) -> tuple[bool, list[str]]:
    """Put the events back. Tells whether there were any, and where each partition ends."""
    moves = plan(data_dir, topics)
    if dry_run or not moves:
        return bool(moves), []
    if not (data_dir / STOPPED_WELL).exists():
        raise StraysError(
            f"The broker of {data_dir} runs, or was not stopped well; start it, and stop it well."
        )
    restored = [f"{move.new.topic}:{move.new.number}:{prepare(move)}" for move in moves]
    os.sync()
    for move in moves:
        swap(move)
    return True, restored


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "data_dir": {"type": "path", "required": True},
            "topics": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        changed, restored = restore(
            Path(module.params["data_dir"]), module.params["topics"], dry_run=module.check_mode
        )
    except (StraysError, NotWhole) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, restored=restored)


if __name__ == "__main__":
    main()
