"""The store that systems write to, watched while they do."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE

from bench.errors import BenchError
from bench.events import Event
from bench.results import Sample
from testing.authority import Authority
from testing.processes import Process
from testing.store import DATABASE, Store, make_indexes

_EVENTS = (COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE)
# The cache that the mongo role gives MongoDB on a machine of fleet.yml's size.
_CACHE_GIB = 0.5
_POLL_SECONDS = 0.25
# How many events of a batch, evenly spread, are looked up to see how much of it is stored.
_MARKS = 100
_SILENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class StoreLogin:
    """Who may use the store, and who signs its certificate."""

    username: str
    password: str
    authority: Authority


class WatchedStore:
    """Empty at first, gone with its data when the block ends.

    A secondary index takes the stand-in several times as long as the insert itself, so that only
    what reads through the indexes asks for them.
    """

    def __init__(self, folder: Path, *, indexes: bool, login: StoreLogin | None = None) -> None:
        self._indexes = indexes
        self._login = login
        if login:
            self._store = Store.secured(folder, login.authority, _CACHE_GIB)
        else:
            self._store = Store.plain(folder, _CACHE_GIB)
        self.url = f"{self._store.url}/?directConnection=true"

    def __enter__(self) -> Self:
        store, login = self._store, self._login
        with ExitStack() as stack:
            if login:
                store.first_start()
            stack.enter_context(store.running())
            if login:
                store.make_user(login.username, login.password)
            client = store.client(login.username, login.password, DATABASE) if login else store.client()
            self._database = stack.enter_context(client)[DATABASE]
            if self._indexes:
                make_indexes(self._database)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

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
