#!/usr/bin/python
"""Make this node a voter of the controllers' quorum, and take out the voters that do not belong to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_files import read_properties
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import TOOL_ARGUMENTS, run

DOCUMENTATION = """
module: kafka_quorum
short_description: Add this node to the controllers' quorum, and take out who does not belong to it
description:
  - A controller that starts on an empty disk only listens. This module makes it a voter, in the place of one
    of the same number whose disk is gone.
  - Voters that are not listed are taken out. Their controllers go on listening.
  - Runs on the new node, since only that knows its own id and addresses. Run it on one node at a time.
  - Needs a quorum that may change, which C(kraft.version) 1 has.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  node_id:
    description: This node.
    type: int
    required: true
  data_dir:
    description: The node's log directory on the machine, which says what disk it has.
    type: path
    required: true
  voters:
    description: The nodes whose controllers should vote.
    type: list
    elements: int
    required: true
  server_properties:
    description: File inside the container with the settings that the node runs with.
    type: path
    default: /opt/kafka/config/server.properties
  wait_seconds:
    description: How long to wait until a new node listens.
    type: int
    default: 60
attributes:
  check_mode:
    description: Reports what would change, without waiting.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Join the quorum
  gpu_token.pipeline.kafka_quorum:
    bootstrap_server: 10.0.1.5:29092
    command_config: /etc/kafka/secrets/admin.properties
    node_id: 2
    data_dir: /srv/kafka/data
    voters: [1, 2, 3]
  throttle: 1
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
"""

_PAUSE_SECONDS = 2
_OBSERVER = "Observer"


class Member(NamedTuple):
    """One line of the quorum: a node's disk, and whether its controller votes."""

    node_id: int
    directory_id: str
    votes: bool


class Action(NamedTuple):
    """One change: a sentence for people, and the tool's arguments; None adds this node."""

    sentence: str
    arguments: tuple[str, ...] | None


def parse(description: str) -> list[Member]:
    """Read what `kafka-metadata-quorum.sh describe --replication` prints."""
    members = []
    for line in description.splitlines():
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if cells and cells[0].isdecimal():
            members.append(Member(int(cells[0]), cells[1], cells[-1] != _OBSERVER))
    return members


def remove(member: Member, why: str) -> Action:
    """Take a voter out."""
    arguments = ("--controller-id", str(member.node_id), "--controller-directory-id", member.directory_id)
    return Action(f"remove voter {member.node_id}, {why}", ("remove-controller", *arguments))


def plan(members: Sequence[Member], node_id: int, directory_id: str, voters: Sequence[int]) -> list[Action]:
    """List the changes: first the node joins, then others go, so that a majority is always there."""
    actions = []
    if node_id in voters and Member(node_id, directory_id, True) not in members:
        gone = [member for member in members if member.node_id == node_id and member.votes]
        actions += [remove(member, "whose disk is gone") for member in gone]
        actions.append(Action(f"add voter {node_id}", None))
    strangers = [member for member in members if member.votes and member.node_id not in voters]
    return actions + [remove(member, "which is no controller any more") for member in strangers]


def is_there(members: Sequence[Member], node_id: int, directory_id: str, voters: Sequence[int]) -> bool:
    """Tell whether the node listens or votes, if it should."""
    return node_id not in voters or (node_id, directory_id) in {member[:2] for member in members}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "node_id": {"type": "int", "required": True},
            "data_dir": {"type": "path", "required": True},
            "voters": {"type": "list", "elements": "int", "required": True},
            "server_properties": {"type": "path", "default": "/opt/kafka/config/server.properties"},
            "wait_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    node_id, voters = module.params["node_id"], module.params["voters"]
    directory_id = read_properties(module.params["data_dir"]).get("directory.id", "")
    tool = "kafka-metadata-quorum.sh"
    until = time.monotonic() + module.params["wait_seconds"]
    while True:
        members = parse(run(module, tool, ("describe", "--replication")))
        if is_there(members, node_id, directory_id, voters) or module.check_mode:
            break
        if time.monotonic() > until:
            module.fail_json(
                msg=f"Node {node_id} does not follow the controllers' quorum, which has "
                f"{', '.join(sorted({str(member.node_id) for member in members}))}; look at its log "
                f"(docker logs {module.params['container']})."
            )
        time.sleep(_PAUSE_SECONDS)

    actions = plan(members, node_id, directory_id, voters)
    if not module.check_mode:
        for action in actions:
            if action.arguments is None:
                run(module, tool, ("add-controller",), also_config=module.params["server_properties"])
            else:
                run(module, tool, action.arguments)
    module.exit_json(changed=bool(actions), actions=[action.sentence for action in actions])


if __name__ == "__main__":
    main()
