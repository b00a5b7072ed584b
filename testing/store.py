"""The lab's stand-in for MongoDB as a process, with the settings that its image gives it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pymongo import MongoClient
from pymongo.database import Database

from lab.ports import free_port
from testing.authority import Authority
from testing.mongo_compat import initdb, mongod
from testing.mongo_compat import settings as mongod_settings
from testing.parts import ROOT
from testing.processes import Process, run

DATABASE = "gpu_token"
ADMIN_PASSWORD = "the-first-password-of-admin-00001"
Document = dict[str, Any]

_ROLE_DEFAULTS = ROOT / "roles" / "mongo" / "defaults" / "main.yml"
_ROLE_EXPIRING = ROOT / "roles" / "mongo" / "vars" / "main" / "indexes.yml"
_CACHE_GIB = 0.0625
_START_MS = 30_000


@dataclass(frozen=True)
class Store:
    """A store on this computer: its data and its log lie in the folder."""

    folder: Path
    settings: mongod_settings.Settings

    @classmethod
    def plain(cls, folder: Path, cache_gib: float = _CACHE_GIB) -> Store:
        """Empty; whoever asks is answered, without TLS."""
        data = folder / "store"
        data.mkdir(parents=True)
        return cls(folder, mongod_settings.Settings(str(data), free_port(), "127.0.0.1", cache_gib))

    @classmethod
    def secured(cls, folder: Path, authority: Authority, cache_gib: float = _CACHE_GIB) -> Store:
        """Empty, with TLS, and nobody in it: `first_start` makes the administrator."""
        store = cls.plain(folder, cache_gib)
        secured = replace(
            store.settings,
            authorization=True,
            tls=True,
            certificate_key_file=str(authority.server_pem),
            ca_file=str(authority.file),
            require_client_certificate=False,
        )
        return replace(store, settings=secured)

    @property
    def url(self) -> str:
        """Its address, without a login."""
        return f"mongodb://127.0.0.1:{self.settings.port}"

    @property
    def tls(self) -> dict[str, Any]:
        """What a client needs to trust it."""
        return {"tls": True, "tlsCAFile": self.settings.ca_file} if self.settings.tls else {}

    def without_users(self) -> Store:
        """The same store as an earlier version ran it: without users, without TLS."""
        return replace(self, settings=replace(self.settings, authorization=False, tls=False))

    def first_start(self) -> None:
        """Make the administrator, as the image does on an empty volume."""
        environment = {
            **os.environ,
            # The server is found by its name there.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            initdb.USER: "admin",
            initdb.PASSWORD: ADMIN_PASSWORD,
        }
        place = [f"--dbpath={self.settings.db_path}", f"--port={self.settings.port}"]
        run([sys.executable, "-m", initdb.__name__, *place], environment=environment)

    @contextmanager
    def running(self) -> Iterator[Store]:
        """The store, until the end of the block."""
        binary, *arguments = mongod.server_arguments(self.settings)
        server = str(Path(sys.executable).with_name(binary))
        with Process("store", [server, *arguments], self.folder):
            with self.client() as client:
                client.admin.command("ping")
            yield self

    def client(
        self, username: str = "", password: str = "", database: str = "admin"
    ) -> MongoClient[Document]:
        """A client; without a name it does not log in."""
        login: dict[str, Any] = {}
        if username:
            login = {"username": username, "password": password, "authSource": database}
        return MongoClient(self.url, serverSelectionTimeoutMS=_START_MS, **self.tls, **login)

    def admin(self) -> MongoClient[Document]:
        """A client of the administrator's."""
        return self.client("admin", ADMIN_PASSWORD)

    def make_user(self, name: str, password: str) -> None:
        """One who may read and write DATABASE."""
        roles = [{"role": "readWrite", "db": DATABASE}]
        with self.admin() as client:
            client[DATABASE].command("createUser", name, pwd=password, roles=roles)

    def set_password(self, user: str, password: str) -> None:
        """Give a user of DATABASE another password."""
        with self.admin() as client:
            client[DATABASE].command("updateUser", user, pwd=password)


def make_indexes(database: Database[Document]) -> None:
    """Those that the role mongo makes, by which nothing expires here."""
    for one in yaml.safe_load(_ROLE_EXPIRING.read_text())["_mongo_expiring"]:
        database[one["collection"]].create_index(one["field"])
    for index in yaml.safe_load(_ROLE_DEFAULTS.read_text())["mongo_indexes"]:
        database[index["collection"]].create_index([(key, 1) for key in index["keys"]])
