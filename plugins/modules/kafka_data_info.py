#!/usr/bin/python
"""Find out what a broker's data directory holds, without changing it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_files import (
    has_metadata,
    partitions,
    read_properties,
    read_text,
)

DOCUMENTATION = """
module: kafka_data_info
short_description: What a Kafka data directory holds
description:
  - Reads meta.properties, the quorum's state, the kept cluster id, names and owners of the files.
  - Changes nothing.
options:
  data_dir:
    description: The broker's log directory.
    type: path
    required: true
  cluster_id_file:
    description: Where the cluster's id is kept.
    type: path
    required: true
  uid:
    description: The user who should own the data.
    type: int
    required: true
attributes:
  check_mode:
    description: Does the same, since it changes nothing.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Read what the data directory holds
  gpu_token.pipeline.kafka_data_info:
    data_dir: /srv/kafka/data
    cluster_id_file: /srv/kafka/cluster.id
    uid: 1000
"""

RETURN = """
cluster_id:
  description: The id in meta.properties, or an empty string.
  returned: always
  type: str
node_id:
  description: The node in meta.properties, or an empty string.
  returned: always
  type: str
kept_cluster_id:
  description: The id in the file, or an empty string.
  returned: always
  type: str
voters:
  description: The nodes of the controllers' quorum, by what this one knows of it; empty if it knows of none.
  returned: always
  type: list
  elements: int
foreign:
  description: Some names from the directory, if it has content that is not Kafka's.
  returned: always
  type: list
  elements: str
wrong_owner:
  description: Whether another user owns any of the data.
  returned: always
  type: bool
strays:
  description: >-
    Topics with events in directories that Kafka has named C(-stray), since its metadata did not know their
    partitions when it started. Each has C(topic), C(partitions), the numbers of all of them, and C(bytes).
  returned: always
  type: list
  elements: dict
has_metadata:
  description: Whether there is a record of metadata. A new node has it once it has followed a leader.
  returned: always
  type: bool
metadata_lost:
  description: Whether there are partitions, and no metadata that says what they are.
  returned: always
  type: bool
"""

# Names that do not count as content: a new file system's directory, and files of a broker that has not yet
# formatted its storage.
NOT_FOREIGN = {"lost+found", ".lock", "bootstrap.checkpoint"}
NAMES_SHOWN = 5


def voters(data_dir: Path) -> list[int]:
    """Read the quorum's nodes. A quorum that may change keeps them elsewhere, and none are told here."""
    state = read_text(data_dir / "__cluster_metadata-0" / "quorum-state")
    return sorted(voter["voterId"] for voter in json.loads(state or "{}").get("currentVoters", ()))


def foreign_names(data_dir: Path) -> list[str]:
    """Name files in a directory that a broker has never formatted."""
    if not data_dir.is_dir() or (data_dir / "meta.properties").is_file():
        return []
    return sorted(entry.name for entry in data_dir.iterdir() if entry.name not in NOT_FOREIGN)[:NAMES_SHOWN]


def strays(data_dir: Path) -> list[dict[str, Any]]:
    """Name the topics whose events lie in stray directories. A topic without any is nothing to miss."""
    topics: dict[str, dict[str, Any]] = {}
    for found in partitions(data_dir):
        if found.stray:
            topic = topics.setdefault(found.topic, {"topic": found.topic, "partitions": [], "bytes": 0})
            topic["partitions"] = sorted({*topic["partitions"], found.number})
            topic["bytes"] += found.size_bytes()
    return [topic for topic in topics.values() if topic["bytes"]]


def is_metadata_lost(data_dir: Path) -> bool:
    """Tell whether a broker would start on these partitions without knowing them."""
    known = any(not found.stray for found in partitions(data_dir))
    return known and (data_dir / "meta.properties").is_file() and not has_metadata(data_dir)


def owner(path: Path) -> int | None:
    """Read a file's owner; a running broker may remove the file meanwhile."""
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return None


def has_wrong_owner(data_dir: Path, uid: int) -> bool:
    """Tell whether anything in the directory belongs to another user; stop at the first such file."""
    found = (Path(folder, name) for folder, _, names in os.walk(data_dir) for name in ["", *names])
    return any(owner(path) not in (uid, None) for path in found)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "data_dir": {"type": "path", "required": True},
            "cluster_id_file": {"type": "path", "required": True},
            "uid": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    data_dir = Path(module.params["data_dir"])
    meta = read_properties(data_dir)
    module.exit_json(
        changed=False,
        cluster_id=meta.get("cluster.id", ""),
        node_id=meta.get("node.id", ""),
        kept_cluster_id=read_text(Path(module.params["cluster_id_file"])).strip(),
        voters=voters(data_dir),
        foreign=foreign_names(data_dir),
        wrong_owner=has_wrong_owner(data_dir, module.params["uid"]),
        strays=strays(data_dir),
        has_metadata=has_metadata(data_dir),
        metadata_lost=is_metadata_lost(data_dir),
    )


if __name__ == "__main__":
    main()
