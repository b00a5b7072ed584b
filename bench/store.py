"""The store as a local process: the lab's stand-in for MongoDB."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml
from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from bench.events import Event
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
# So many events of a batch, evenly spread, tell how much of it is stored.
_MARKS = 100
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

    def watch(self, batch: Sequence[Event], writer: Process) -> list[Sample]:
        """How many of a batch are stored, from now until all are; raise if the writer ends or nothing comes.

        Some are asked for by their ids. To count documents the stand-in reads each of them, at the
        cost of what it could store meanwhile; `check` counts once, at the end.
        """
        missing = {batch[-1 - at].event_id for at in range(0, len(batch), -(-len(batch) // _MARKS))}
        marks = len(missing)
        samples: list[Sample] = []
        moved = time.monotonic()
        while missing:
            found = self._found(missing)
            missing -= found
            now = time.monotonic()
            moved = now if found else moved
            samples.append(Sample(now, len(batch) * (marks - len(missing)) // marks))
            if now - moved > _SILENCE_SECONDS:
                raise BenchError(
                    f"{writer.name} has stored {samples[-1].stored} of {len(batch)} events, "
                    f"and nothing for {_SILENCE_SECONDS} seconds."
                )
            if missing:
                writer.check()
                time.sleep(_POLL_SECONDS)
        return samples

    def check(self, events: int, writer: Process) -> None:
        """Raise unless exactly that many are stored within a minute."""
        writer.wait_for(lambda: self.events() == events, f"exactly {events} events are stored")

    def _found(self, ids: set[str]) -> set[str]:
        wanted = {"_id": {"$in": list(ids)}}
        return {
            document["_id"]
            for collection in _EVENTS
            for document in self._database[collection].find(wanted, {"_id": 1})
        }

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
