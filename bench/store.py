"""The store as a local process: the lab's stand-in for MongoDB."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml
from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from bench.parts import ROOT, store_python
from bench.processes import BenchError, Process, free_port
from bench.results import Sample
from lab.images.contexts.mongo.mongo_compat.mongod import server_arguments
from lab.images.contexts.mongo.mongo_compat.settings import Settings

DATABASE = "gpu_token"
_EVENTS = (COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE)
_ROLE_DEFAULTS = ROOT / "roles" / "mongo" / "defaults" / "main.yml"
# What the mongo role gives it on a machine of fleet.yml's size.
_CACHE_GIB = 0.5
_POLL_SECONDS = 0.25
_SILENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class StoreLogin:
    """Who may use the store, and by which certificate it is known."""

    username: str
    password: str
    server_pem: Path
    ca_file: Path

    def options(self) -> dict[str, Any]:
        """A client's."""
        return {
            "username": self.username,
            "password": self.password,
            "authSource": DATABASE,
            "tls": True,
            "tlsCAFile": str(self.ca_file),
        }


class Store:
    """Empty at first, gone with its data when the block ends.

    A secondary index takes the stand-in several times as long as the insert itself, so that only
    what reads through the indexes asks for them.
    """

    def __init__(self, folder: Path, *, indexes: bool, login: StoreLogin | None = None) -> None:
        self._folder = folder
        self._indexes = yaml.safe_load(_ROLE_DEFAULTS.read_text())["mongo_indexes"] if indexes else []
        port = free_port()
        self.url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        self._settings = Settings(str(folder / "store"), port, "127.0.0.1", _CACHE_GIB)
        self._login = login
        if login:
            self._settings = replace(
                self._settings,
                authorization=True,
                tls=True,
                certificate_key_file=str(login.server_pem),
                ca_file=str(login.ca_file),
                require_client_certificate=False,
            )

    def __enter__(self) -> Self:
        Path(self._settings.db_path).mkdir()
        if self._login:
            self._make_user(self._login)
        self._start(self._settings, self._login)
        for index in self._indexes:
            self._database[index["collection"]].create_index([(key, 1) for key in index["keys"]])
        return self

    def __exit__(self, *details: object) -> None:
        self._client.close()
        self._process.__exit__(*details)

    def events(self) -> int:
        """Stored so far."""
        return sum(self._database[collection].estimated_document_count() for collection in _EVENTS)

    def watch(self, events: int, writer: Process) -> list[Sample]:
        """Counts from now until that many are stored; raise if their writer ends or nothing comes."""
        samples = [Sample(time.monotonic(), self.events())]
        moved = samples[0].moment
        while samples[-1].stored < events:
            time.sleep(_POLL_SECONDS)
            writer.check()
            samples.append(Sample(time.monotonic(), self.events()))
            if samples[-1].stored > samples[-2].stored:
                moved = samples[-1].moment
            elif samples[-1].moment - moved > _SILENCE_SECONDS:
                raise BenchError(
                    f"{writer.name} has stored {samples[-1].stored} of {events} events, "
                    f"and nothing for {_SILENCE_SECONDS} seconds."
                )
        return samples

    def _start(self, settings: Settings, login: StoreLogin | None) -> None:
        binary, *arguments = server_arguments(settings)
        self._process = Process("store", [store_python().with_name(binary), *arguments], self._folder)
        self._process.__enter__()
        options = login.options() if login else {}
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            self.url, serverSelectionTimeoutMS=1_000, **options
        )
        self._database = self._client[DATABASE]
        self._process.wait_for(self._answers, "the store answers")

    def _make_user(self, login: StoreLogin) -> None:
        self._start(replace(self._settings, authorization=False, tls=False), None)
        roles = [{"role": "readWrite", "db": DATABASE}]
        self._database.command("createUser", login.username, pwd=login.password, roles=roles)
        self.__exit__()

    def _answers(self) -> bool:
        try:
            return bool(self._client.admin.command("ping"))
        except PyMongoError:
            return False
