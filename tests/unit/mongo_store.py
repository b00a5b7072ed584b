"""The lab's stand-in for MongoDB with users and TLS, started as its image starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from bench.authority import Authority
from lab.images.contexts.mongo.mongo_compat import initdb, mongod
from lab.images.contexts.mongo.mongo_compat.settings import Settings

ADMIN_PASSWORD = "the-first-password-of-admin-00001"
_START_MS = 30_000


@dataclass(frozen=True)
class Store:
    """A store on this computer."""

    folder: Path
    settings: Settings

    @property
    def url(self) -> str:
        """Its address, without a login."""
        return f"mongodb://localhost:{self.settings.port}"

    @property
    def tls(self) -> dict[str, Any]:
        """What a client needs to trust it."""
        return {"tls": True, "tlsCAFile": str(self.folder / "ca.pem")} if self.settings.tls else {}

    def client(self, username: str = "", password: str = "", database: str = "admin") -> Any:
        """A client of the store; without a name it does not log in."""
        login = {"username": username, "password": password, "authSource": database} if username else {}
        return MongoClient(self.url, serverSelectionTimeoutMS=_START_MS, **self.tls, **login)

    @contextmanager
    def running(self) -> Iterator[Store]:
        """The store, until the end of the block."""
        server = subprocess.Popen(mongod.server_arguments(self.settings))
        try:
            with self.client() as client:
                client.admin.command("ping")
            yield self
        finally:
            server.terminate()
            server.wait(20)

    def open(self) -> Store:
        """The same store as an earlier version ran it: without users, without TLS."""
        return replace(self, settings=replace(self.settings, authorization=False, tls=False))


def made(folder: Path) -> Store:
    """An empty store with users and TLS, and nobody in it."""
    # The server is found as the image finds it, by its name.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    authority = Authority(folder, "ca")
    certificate = authority.server()
    (folder / "data").mkdir()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return Store(
        folder,
        Settings(
            db_path=str(folder / "data"),
            port=port,
            bind_ip="127.0.0.1",
            cache_size_gb=0.05,
            authorization=True,
            tls=True,
            certificate_key_file=str(certificate),
            ca_file=str(folder / "ca.pem"),
            require_client_certificate=False,
        ),
    )


def first_start(store: Store) -> None:
    """Make the administrator, as the image does on an empty volume."""
    initdb.create(store.settings, "admin", ADMIN_PASSWORD)
