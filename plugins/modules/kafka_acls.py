#!/usr/bin/python
"""Make Kafka's access control lists equal to a list."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import TOOL_ARGUMENTS, run

DOCUMENTATION = """
module: kafka_acls
short_description: Kafka's access control lists
description:
  - Compares the broker's ACLs with a list, grants what is missing, and withdraws what is not listed.
  - Starts one JVM if nothing has to change, and one more for each user and operation that changes.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  acls:
    description: Who may do what.
    type: list
    elements: dict
    required: true
    suboptions:
      user:
        description: The user's name.
        type: str
        required: true
      operation:
        description: The operations that the user may do; C(read) and C(write) imply C(describe).
        type: str
        required: true
        choices: [all, alter, alter_configs, create, delete, describe, describe_configs, read, write]
      topics:
        description: The topics concerned. A name that ends in C(*) stands for all names that begin with it.
        type: list
        elements: str
        default: []
      groups:
        description: The consumer groups concerned, named in the same way.
        type: list
        elements: str
        default: []
      cluster:
        description: Whether the right is about the cluster itself.
        type: bool
        default: false
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows all ACLs before and after.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Let the producers send, and nobody do anything else
  gpu_token.pipeline.kafka_acls:
    bootstrap_server: localhost:29092
    command_config: /etc/kafka/secrets/admin.properties
    acls:
      - {user: producers, operation: write, topics: [token.usage.v1]}
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
"""

TOOL = "kafka-acls.sh"
OPERATIONS = ["all", "alter", "alter_configs", "create", "delete", "describe", "describe_configs"]
OPERATIONS += ["read", "write"]
# Kafka's kinds of resources and the tool's options for them. The option for the cluster takes no name.
KINDS = {
    "TOPIC": "--topic",
    "GROUP": "--group",
    "CLUSTER": "--cluster",
    "TRANSACTIONAL_ID": "--transactional-id",
    "DELEGATION_TOKEN": "--delegation-token",
    "USER": "--user-principal",
}
# Kafka's own name of every cluster.
CLUSTER = "kafka-cluster"
RESOURCE = re.compile(r"ResourcePattern\(resourceType=(\w+), name=(.*), patternType=(\w+)\)")
ENTRY = re.compile(r"\(principal=(.*), host=(.*), operation=(\w+), permissionType=(\w+)\)")


@dataclass(frozen=True, order=True)
class Who:
    """What one call of the tool changes, for any number of resources."""

    principal: str
    operation: str
    pattern: str = "LITERAL"
    permission: str = "ALLOW"
    host: str = "*"

    @property
    def arguments(self) -> list[str]:
        """The operation in the tool's spelling, such as DescribeConfigs."""
        side = self.permission.lower()
        return [
            *(f"--{side}-principal", self.principal, f"--{side}-host", self.host),
            *("--operation", self.operation.title().replace("_", "")),
            *("--resource-pattern-type", self.pattern.lower()),
        ]


@dataclass(frozen=True, order=True)
class Acl:
    """One entry of the lists."""

    who: Who
    kind: str
    name: str

    @property
    def resource(self) -> list[str]:
        """The resource as the tool's arguments."""
        return [KINDS[self.kind]] if self.kind == "CLUSTER" else [KINDS[self.kind], self.name]

    @property
    def sentence(self) -> str:
        """Say who may do what."""
        who = self.who
        verb = "may" if who.permission == "ALLOW" else "may not"
        name = f"{self.name}*" if who.pattern == "PREFIXED" else self.name
        origin = "" if who.host == "*" else f" from {who.host}"
        return f"{who.principal} {verb} {who.operation} {self.kind} {name}{origin}"


def parse(printed: str) -> set[Acl]:
    """Read what `kafka-acls.sh --list` prints."""
    found = set()
    kind = name = pattern = ""
    for line in printed.splitlines():
        if resource := RESOURCE.search(line):
            kind, name, pattern = resource.groups()
        elif entry := ENTRY.search(line):
            principal, host, operation, permission = entry.groups()
            found.add(Acl(Who(principal, operation, pattern, permission, host), kind, name))
    return found


def wanted(acls: Iterable[dict[str, Any]]) -> set[Acl]:
    """Read the module's parameter. A single `*` is Kafka's own name for all."""
    found = set()
    for params in acls:
        cluster = [CLUSTER] if params.get("cluster") else []
        kinds = (("TOPIC", params["topics"]), ("GROUP", params["groups"]), ("CLUSTER", cluster))
        for kind, names in kinds:
            for name in names:
                prefixed = name.endswith("*") and name != "*"
                who = Who(
                    f"User:{params['user']}",
                    params["operation"].upper(),
                    "PREFIXED" if prefixed else "LITERAL",
                )
                found.add(Acl(who, kind, name[:-1] if prefixed else name))
    return found


def calls(verb: Iterable[str], acls: Iterable[Acl]) -> Iterator[list[str]]:
    """Arguments of the tool, which takes several resources at once."""
    resources: dict[Who, list[str]] = defaultdict(list)
    for acl in sorted(acls):
        resources[acl.who] += acl.resource
    for who, named in resources.items():
        yield [*verb, *who.arguments, *named]


def main() -> None:
    """Run the module."""
    names = {"type": "list", "elements": "str", "default": []}
    acl_options = {
        "user": {"type": "str", "required": True},
        "operation": {"type": "str", "required": True, "choices": OPERATIONS},
        "topics": names,
        "groups": names,
        "cluster": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "acls": {"type": "list", "elements": "dict", "required": True, "options": acl_options},
        },
        supports_check_mode=True,
    )
    before, after = parse(run(module, TOOL, ["--list"])), wanted(module.params["acls"])
    lacking, surplus = after - before, before - after
    if not module.check_mode:
        # Grant first: a right that only changes its form is never missing in between.
        for arguments in [*calls(["--add"], lacking), *calls(["--remove", "--force"], surplus)]:
            run(module, TOOL, arguments)
    actions = [f"grant: {acl.sentence}" for acl in sorted(lacking)]
    actions += [f"withdraw: {acl.sentence}" for acl in sorted(surplus)]
    shown = {
        state: "".join(f"{acl.sentence}\n" for acl in sorted(acls))
        for state, acls in (("before", before), ("after", after))
    }
    module.exit_json(changed=bool(actions), actions=actions, diff=shown if actions else {})


if __name__ == "__main__":
    main()
