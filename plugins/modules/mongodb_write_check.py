#!/usr/bin/python
"""Find out whether a store takes writes."""

from __future__ import annotations

from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.mongodb_connection import (
    CONNECTION_ARGUMENTS,
    TIMEOUT_MS,
    connect,
)

DOCUMENTATION = """
module: mongodb_write_check
short_description: Find out whether MongoDB takes writes
description:
  - A store whose disk is full may answer every question and fail every write. So this writes one document, in
    the place of the one that it wrote last, and waits until that lies on the disk.
  - Fails, with what the store said, if it takes no writes.
extends_documentation_fragment: [gpu_token.pipeline.mongodb_store, gpu_token.pipeline.mongodb_store.database]
options:
  collection:
    description: The collection that has nothing but this document.
    type: str
    default: write_check
attributes:
  check_mode:
    description: Asks the store for an answer, and writes nothing.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Write to the store
  gpu_token.pipeline.mongodb_write_check:
    database: gpu_token
"""

RETURN = """
written:
  description: Whether a document was written; false in check mode.
  returned: always
  type: bool
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_ARGUMENTS, "collection": {"type": "str", "default": "write_check"}},
        supports_check_mode=True,
    )
    with connect(module) as database:
        if module.check_mode:
            database.command("ping")
        else:
            from pymongo import WriteConcern

            on_disk = WriteConcern(w="majority", j=True, wtimeout=TIMEOUT_MS)
            collection = database.get_collection(module.params["collection"], write_concern=on_disk)
            collection.replace_one({"_id": "last"}, {"at": datetime.now(tz=UTC)}, upsert=True)
    # The document says when somebody looked; that is no change of what is kept.
    module.exit_json(changed=False, written=not module.check_mode)


if __name__ == "__main__":
    main()
