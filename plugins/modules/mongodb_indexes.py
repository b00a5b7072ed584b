#!/usr/bin/python
"""Create and replace a database's indexes according to a list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.mongodb_connection import (
    CONNECTION_ARGUMENTS,
    connect,
)

DOCUMENTATION = """
module: mongodb_indexes
short_description: Create and replace MongoDB indexes
description:
  - Compares indexes with a list and creates missing ones.
  - Changes in place the time after which documents expire by an index. MongoDB before 5.1 cannot give such
    a time to an index that has none; there it is replaced.
  - Replaces an index that has the same fields and differs in other options.
  - Indexes that are not listed stay as they are.
  - Unlike community.mongodb.mongodb_index it compares fields and options instead of names, has a diff,
    and tells in check mode of every index instead of the last one.
extends_documentation_fragment: [gpu_token.pipeline.mongodb_store, gpu_token.pipeline.mongodb_store.database]
options:
  indexes:
    description: The indexes.
    type: list
    elements: dict
    required: true
    suboptions:
      collection:
        description: The collection.
        type: str
        required: true
      keys:
        description: Fields in order; a leading minus sorts downwards.
        type: list
        elements: str
        required: true
      options:
        description: Other options of the index, with MongoDB's names.
        type: dict
        default: {}
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the listed indexes before and after.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Find usage by time and by model
  gpu_token.pipeline.mongodb_indexes:
    database: gpu_token
    indexes:
      - {collection: token_usage, keys: [ts]}
      - {collection: token_usage, keys: [model, -ts], options: {unique: true}}
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
"""

EXPIRY = "expireAfterSeconds"
# The first version whose collMod makes documents expire by an index by which none did.
EXPIRY_FROM = [5, 1]

# Options that make an index with the same fields a different one. The server adds other options of its own.
COMPARED_OPTIONS = (
    "unique",
    "sparse",
    EXPIRY,
    "partialFilterExpression",
    "hidden",
    "collation",
)

# A direction is 1, -1, or a word such as hashed.
Keys = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True)
class Index:
    """An index as wanted, or as the store has it."""

    collection: str
    keys: Keys
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that MongoDB gives an index."""
        return "_".join(f"{key}_{direction}" for key, direction in self.keys)


@dataclass(frozen=True)
class Action:
    """Create an index; or change the time of the present one in place; or drop that one first."""

    index: Index
    present: str | None = None
    in_place: bool = False

    @property
    def sentence(self) -> str:
        """Say what is done."""
        index = f"index {self.index.name} of {self.index.collection}"
        if self.in_place:
            return f"let documents by {index} expire after {self.index.options[EXPIRY]} seconds"
        return f"{'replace' if self.present else 'create'} {index}"

    def run(self, database: Any) -> None:
        """Do it."""
        collection = database[self.index.collection]
        if self.in_place:
            changed = {"name": self.present, EXPIRY: self.index.options[EXPIRY]}
            database.command("collMod", self.index.collection, index=changed)
            return
        if self.present:
            collection.drop_index(self.present)
        collection.create_index(list(self.index.keys), **self.index.options)


def parse_key(text: str) -> tuple[str, int]:
    """Read `field` or `-field`."""
    return (text[1:], -1) if text.startswith("-") else (text, 1)


def effective(options: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that tell two indexes apart. An option that is off equals an absent one."""
    return {name: options[name] for name in COMPARED_OPTIONS if options.get(name) not in (None, False)}


def wanted_index(params: dict[str, Any]) -> Index:
    """Read one index of the module's parameters."""
    return Index(
        params["collection"], tuple(parse_key(key) for key in params["keys"]), params["options"] or {}
    )


def present_indexes(collection: str, information: dict[str, Any]) -> dict[str, Index]:
    """Read what the store says of a collection's indexes; a direction may be a float or a word."""
    present = {}
    for name, described in information.items():
        keys = tuple((key, int(way) if not isinstance(way, str) else way) for key, way in described["key"])
        present[name] = Index(collection, keys, effective(described))
    return present


def differs_in_expiry(old: Index, wanted: Index, version: list[int]) -> bool:
    """Whether a store of this version can make one of the other in place."""
    options = effective(wanted.options)
    if EXPIRY not in options or (EXPIRY not in old.options and version < EXPIRY_FROM):
        return False
    return {**old.options, EXPIRY: options[EXPIRY]} == options


def plan(present: dict[str, dict[str, Index]], wanted: list[Index], version: list[int]) -> list[Action]:
    """List the changes that lead from the present indexes (by collection and name) to the wanted ones."""
    actions = []
    for index in wanted:
        alike = {name: old for name, old in present[index.collection].items() if old.keys == index.keys}
        if any(old.options == effective(index.options) for old in alike.values()):
            continue
        name = next(iter(alike), None)
        in_place = name is not None and differs_in_expiry(alike[name], index, version)
        actions.append(Action(index, name, in_place))
    return actions


def diff(present: dict[str, dict[str, Index]], actions: list[Action]) -> dict[str, Any]:
    """Show the indexes that change, before and after."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for action in actions:
        index = action.index
        after[f"{index.collection}.{index.name}"] = effective(index.options)
        if action.present:
            before[f"{index.collection}.{index.name}"] = present[index.collection][action.present].options
    return {"before": before, "after": after}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "indexes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "collection": {"type": "str", "required": True},
                    "keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
                    "options": {"type": "dict", "default": {}},
                },
            },
        },
        supports_check_mode=True,
    )
    wanted = [wanted_index(index) for index in module.params["indexes"]]
    with connect(module) as database:
        collections = {index.collection for index in wanted}
        present = {name: present_indexes(name, database[name].index_information()) for name in collections}
        actions = plan(present, wanted, list(database.client.server_info()["versionArray"]))
        for action in [] if module.check_mode else actions:
            action.run(database)
    module.exit_json(
        changed=bool(actions),
        actions=[action.sentence for action in actions],
        diff=diff(present, actions) if actions else {},
    )


if __name__ == "__main__":
    main()
