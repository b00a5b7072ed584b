"""A database of the store, with the indexes that the mongo role makes."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient

from testing.store import make_indexes


@contextmanager
def database(url: str) -> Iterator[str]:
    """The name of a new database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with MongoClient[dict[str, Any]](url) as client:
        make_indexes(client[name])
        yield name
        client.drop_database(name)
