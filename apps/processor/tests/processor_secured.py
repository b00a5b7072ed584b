"""The store as the mongo role runs it: TLS with an authority of our own, users, and their rights."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from bench.processes import free_port

_START_MS = 30_000
DATABASE = "gpu_token"


class SecuredStore:
    """The store with TLS and users."""

    def __init__(self, folder: Path, server_pem: Path, authority: Path) -> None:
        self._folder = folder
        self._authority = str(authority)
        self._tls = [
            f"--tls-cert-file={server_pem}",
            f"--tls-key-file={server_pem}",
            f"--tls-ca-file={authority}",
        ]
        self._port = free_port()
        self.url = f"mongodb://127.0.0.1:{self._port}"
        self._admin: dict[str, str] = {}

    @contextmanager
    def running(self, user: str, password: str, admin_password: str) -> Iterator[None]:
        """With a user of our database, as long as the block runs."""
        with (
            self._server([]),
            MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=_START_MS) as client,
        ):
            client["admin"].command("createUser", "admin", pwd=admin_password, roles=["root"])
            roles = [{"role": "readWrite", "db": DATABASE}]
            client[DATABASE].command("createUser", user, pwd=password, roles=roles)
        self._admin = {"username": "admin", "password": admin_password, "authSource": "admin"}
        with self._server(["--auth", *self._tls]), self.client() as client:
            client["admin"].command("ping")
            yield

    def client(self) -> MongoClient[dict[str, Any]]:
        """As its administrator."""
        return MongoClient(
            self.url, tls=True, tlsCAFile=self._authority, serverSelectionTimeoutMS=_START_MS, **self._admin
        )

    def set_password(self, user: str, password: str) -> None:
        """Give the user another password."""
        with self.client() as client:
            client[DATABASE].command("updateUser", user, pwd=password)

    @contextmanager
    def _server(self, options: Sequence[str]) -> Iterator[None]:
        server = subprocess.Popen(
            [
                Path(sys.executable).with_name("secantusd-py"),
                f"--port={self._port}",
                f"--storage-path={self._folder}",
                "--cache-size=64M",
                "--standalone",
                "--log-level=ERROR",
                *options,
            ]
        )
        try:
            yield
        finally:
            server.terminate()
            server.wait(20)
