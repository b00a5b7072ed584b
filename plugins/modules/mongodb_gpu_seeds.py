#!/usr/bin/python
"""Keep GPU documents equal to a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.mongodb_connection import (
    CONNECTION_ARGUMENTS,
    connect,
)

DOCUMENTATION = """
module: mongodb_gpu_seeds
short_description: Keep GPU documents equal to a list
description:
  - Inserts missing GPUs, and sets the listed fields of those that differ.
  - A GPU is identified by its name and index and, if both sides have one, its uuid.
  - A document without a uuid takes the seed's.
  - Documents and fields that are not listed stay as they are.
extends_documentation_fragment: [gpu_token.pipeline.mongodb_store]
options:
  database:
    description: The database.
    type: str
    required: true
  collection:
    description: The collection.
    type: str
    default: gpus
  seeds:
    description: The GPUs; each has a name and a gpu_index.
    type: list
    elements: dict
    required: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the fields of each GPU that changes, before and after.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Keep one GPU
  gpu_token.pipeline.mongodb_gpu_seeds:
    database: gpu_token
    seeds:
      - {name: RTX 3090, gpu_index: 0, mem_total_mb: 24576, price_per_hour_usd: 0.85}
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
"""

Document = dict[str, Any]


class SeedsError(Exception):
    """The seeds contradict each other; the message is one sentence."""


@dataclass(frozen=True)
class Action:
    """Set fields of a document, or insert it if there is none."""

    label: str
    document: Document | None
    fields: Document

    @property
    def sentence(self) -> str:
        """Say what is done."""
        return f"{'insert' if self.document is None else 'set'} {self.label}"


def label(seed: Document) -> str:
    """Name a GPU for people."""
    return " ".join([f"{seed['name']} #{seed['gpu_index']}", *([seed["uuid"]] if seed.get("uuid") else [])])


def find(documents: list[Document], seed: Document) -> Document | None:
    """Find a seed's document: first by its uuid, then one without a uuid."""
    alike = [
        document
        for document in documents
        if document.get("name") == seed["name"] and document.get("gpu_index") == seed["gpu_index"]
    ]
    same = [document for document in alike if document.get("uuid") == seed.get("uuid")]
    bare = [document for document in alike if not document.get("uuid")]
    others = [] if seed.get("uuid") else alike
    return next(iter(same + bare + others), None)


def plan(documents: list[Document], seeds: list[Document]) -> list[Action]:
    """List the changes that bring the documents to the seeds. Raises SeedsError if two seeds are one GPU."""
    actions = []
    labels = [label(seed) for seed in seeds]
    free = list(documents)
    for seed in seeds:
        if labels.count(label(seed)) > 1:
            raise SeedsError(f"mongo_gpu_seeds lists {label(seed)} twice; keep one, or give each its uuid.")
        document = find(free, seed)
        if document is None:
            actions.append(Action(label(seed), None, seed))
            continue
        free.remove(document)
        differing = {key: value for key, value in seed.items() if document.get(key) != value}
        if differing:
            actions.append(Action(label(seed), document, differing))
    return actions


def diff(actions: list[Action]) -> dict[str, Any]:
    """Show the fields that change, before and after."""
    before = {
        action.label: {key: action.document[key] for key in action.fields if key in action.document}
        for action in actions
        if action.document is not None
    }
    return {"before": before, "after": {action.label: action.fields for action in actions}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "collection": {"type": "str", "default": "gpus"},
            "seeds": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    seeds = [
        {key: value for key, value in seed.items() if value is not None} for seed in module.params["seeds"]
    ]
    with connect(module) as database:
        collection = database[module.params["collection"]]
        documents = list(collection.find({"name": {"$in": [seed["name"] for seed in seeds]}}))
        try:
            actions = plan(documents, seeds)
        except SeedsError as error:
            module.fail_json(msg=str(error))
        for action in [] if module.check_mode else actions:
            if action.document is None:
                collection.insert_one(dict(action.fields))
            else:
                collection.update_one({"_id": action.document["_id"]}, {"$set": action.fields})
    module.exit_json(
        changed=bool(actions),
        actions=[action.sentence for action in actions],
        diff=diff(actions) if actions else {},
    )


if __name__ == "__main__":
    main()
