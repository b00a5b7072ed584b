#!/usr/bin/python
"""Run an aggregation on MongoDB and return its documents."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.mongodb_connection import (
    CONNECTION_ARGUMENTS,
    connect,
)

DOCUMENTATION = """
module: mongodb_aggregate
short_description: Run an aggregation and return its documents
description: Reads only; stages that write, C($out) and C($merge), are refused.
extends_documentation_fragment: [gpu_token.pipeline.mongodb_store, gpu_token.pipeline.mongodb_store.database]
options:
  collection:
    description: The collection.
    type: str
    required: true
  pipeline:
    description: 'The stages. A date is written as V({"$date": "2026-01-01T00:00:00Z"}).'
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Does the same, since it changes nothing.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Count tokens by model
  gpu_token.pipeline.mongodb_aggregate:
    database: gpu_token
    collection: token_usage
    pipeline:
      - $group:
          _id: $model
          events: {$sum: 1}
          prompt_tokens: {$sum: $prompt_tokens}
  register: usage
"""

RETURN = """
documents:
  description: The documents; dates in ISO 8601, ids as text.
  returned: always
  type: list
  elements: dict
"""

WRITING_STAGES = {"$out", "$merge"}


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def writing_stages(pipeline: list[dict[str, Any]]) -> list[str]:
    """Name the stages that would write."""
    return sorted({name for stage in pipeline for name in stage} & WRITING_STAGES)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "collection": {"type": "str", "required": True},
            "pipeline": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    refused = writing_stages(module.params["pipeline"])
    if refused:
        module.fail_json(msg=f"pipeline holds {', '.join(refused)}, which writes; this module reads only.")
    with connect(module) as database:
        from bson import json_util

        pipeline = json_util.loads(json.dumps(module.params["pipeline"]))
        documents = [
            plain(document) for document in database[module.params["collection"]].aggregate(pipeline)
        ]
    module.exit_json(changed=False, documents=documents)


if __name__ == "__main__":
    main()
