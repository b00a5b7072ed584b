"""What the role's modules share: one connection, and failures as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

try:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError
except ImportError:
    MongoClient = None

CONNECTION_ARGUMENTS = {
    "url": {"type": "str", "default": "mongodb://127.0.0.1:27017", "no_log": False},
    "database": {"type": "str", "required": True},
}
TIMEOUT_MS = 10_000


@contextmanager
def connect(module: AnsibleModule) -> Iterator[Any]:
    """Give the module's database; a failure of the driver or the store ends the module with a sentence."""
    if MongoClient is None:
        module.fail_json(
            msg="The Python driver is missing: install the package python3-pymongo on this machine."
        )
    client = MongoClient(module.params["url"], serverSelectionTimeoutMS=TIMEOUT_MS, tz_aware=True)
    try:
        yield client[module.params["database"]]
    except PyMongoError as error:
        where = urlsplit(module.params["url"])
        module.fail_json(msg=f"MongoDB at {where.hostname}:{where.port or 27017} refused: {error}")
    finally:
        client.close()
