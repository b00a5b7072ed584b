"""The lab's stand-in for MongoDB: its real protocol, on disk, with the indexes that the mongo role makes."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from processor_process import free_port
from pymongo import MongoClient

_START_MS = 30_000
_ROLE_DEFAULTS = Path(__file__).parents[3] / "roles" / "mongo" / "defaults" / "main.yml"


@contextmanager
def mongo(directory: Path) -> Iterator[str]:
    """Its address, as long as it runs."""
    port = free_port()
    server = subprocess.Popen(
        [
            Path(sys.executable).with_name("secantusd-py"),
            f"--port={port}",
            f"--storage-path={directory}",
            "--cache-size=64M",
            "--standalone",
            "--log-level=ERROR",
        ]
    )
    url = f"mongodb://127.0.0.1:{port}"
    try:
        with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=_START_MS) as client:
            client.admin.command("ping")
        yield url
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def database(url: str) -> Iterator[str]:
    """The name of a database of its own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with MongoClient[dict[str, Any]](url) as client:
        for index in yaml.safe_load(_ROLE_DEFAULTS.read_text())["mongo_indexes"]:
            client[name][index["collection"]].create_index([(key, 1) for key in index["keys"]])
        yield name
        client.drop_database(name)
