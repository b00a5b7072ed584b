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
  - Replaces an index that has the same fields but other options.
  - Indexes that are not listed stay as they are.
  - Unlike community.mongodb.mongodb_index it compares fields and options instead of names, has a diff,
    and tells in check mode of every index instead of the last one.
extends_documentation_fragment: [gpu_token.pipeline.mongodb_store]
options:
  database:
    description: The database.
    type: str
    required: true
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

# Options that make an index with the same fields a different one. The server adds other options of its own.
COMPARED_OPTIONS = (
    "unique",
    "sparse",
    "expireAfterSeconds",
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
    """Create an index, after dropping the named one if there is one."""

    index: Index
    drop: str | None = None

    @property
    def sentence(self) -> str:
        """Say what is done."""
        verb = "replace" if self.drop else "create"
        return f"{verb} index {self.index.name} of {self.index.collection}"


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


def plan(present: dict[str, dict[str, Index]], wanted: list[Index]) -> list[Action]:
    """List the changes that lead from the present indexes (by collection and name) to the wanted ones."""
    actions = []
    for index in wanted:
        alike = {name: old for name, old in present[index.collection].items() if old.keys == index.keys}
        if any(old.options == effective(index.options) for old in alike.values()):
            continue
        actions.append(Action(index, next(iter(alike), None)))
    return actions


def diff(present: dict[str, dict[str, Index]], actions: list[Action]) -> dict[str, Any]:
    """Show the indexes that change, before and after."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for action in actions:
        index = action.index
        after[f"{index.collection}.{index.name}"] = effective(index.options)
        if action.drop:
            before[f"{index.collection}.{index.name}"] = present[index.collection][action.drop].options
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
        actions = plan(present, wanted)
        for action in [] if module.check_mode else actions:
            collection = database[action.index.collection]
            if action.drop:
                collection.drop_index(action.drop)
            collection.create_index(list(action.index.keys), **action.index.options)
    module.exit_json(
        changed=bool(actions),
        actions=[action.sentence for action in actions],
        diff=diff(present, actions) if actions else {},
    )


if __name__ == "__main__":
    main()
