"""Server-sent events: who is told, how often, and how a stream ends."""

import asyncio
import http.client
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from bson import ObjectId
from gpu_token_processor.api.events import Changes
from gpu_token_processor.store.collections import CATALOG, DEAD_LETTERS, ROLLUP_MARKS
from gpu_token_processor.store.reads import MongoReads
from processor_process import Process
from processor_stage import Stage
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError

from testing.serving import serving
from testing.waiting import until

UPDATE = "event: update\ndata: new\n\n"
HEARTBEAT = ": still here\n\n"
NOBODY = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "MONGO_URL": "mongodb://127.0.0.1:1"}


class Store:
    """Something to look at."""

    def __init__(self) -> None:
        self.state = 0
        self.looks = 0
        self.failure: Exception | None = None

    def look(self) -> int:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return self.state


def played(play: Callable[[Store, Changes], Any], heartbeat_seconds: float = 60) -> Store:
    """A play with viewers of a store that is looked at without a pause."""
    store = Store()

    async def run() -> None:
        await asyncio.wait_for(
            play(store, Changes(store.look, look_seconds=0.01, heartbeat_seconds=heartbeat_seconds)), 20
        )

    asyncio.run(run())
    return store


async def looked(store: Store) -> None:
    """Two looks have begun, so one has ended."""
    wanted = store.looks + 2
    while store.looks < wanted:
        await asyncio.sleep(0.001)


def test_a_viewer_is_told_at_the_beginning_and_of_what_is_new() -> None:
    async def play(store: Store, changes: Changes) -> None:
        stream = changes.stream()
        assert await anext(stream) == UPDATE
        following = asyncio.ensure_future(anext(stream))
        await looked(store)
        assert not following.done()
        store.state = 1
        assert await following == UPDATE
        # Who comes later does not know what is there, either.
        assert await anext(changes.stream()) == UPDATE

    played(play)


def test_many_changes_between_two_looks_are_one_update_and_many_viewers_one_look() -> None:
    async def play(store: Store, changes: Changes) -> None:
        streams = [changes.stream() for _ in range(20)]
        for stream in streams:
            await anext(stream)
        before = store.looks
        for state in range(1, 10):
            store.state = state
        # The first one does not read on, and nobody waits for it.
        assert [await anext(stream) for stream in streams[1:]] == [UPDATE] * 19
        assert store.looks - before < 20
        store.state = 10
        await looked(store)
        assert await anext(streams[0]) == UPDATE
        late = asyncio.ensure_future(anext(streams[0]))
        await looked(store)
        assert not late.done()
        late.cancel()

    played(play)


def test_a_silent_store_is_a_heartbeat() -> None:
    async def play(store: Store, changes: Changes) -> None:
        store.failure = ServerSelectionTimeoutError("no server")
        stream = changes.stream()
        assert [await anext(stream) for _ in range(2)] == [HEARTBEAT] * 2
        store.failure = None
        while await anext(stream) != UPDATE:
            pass

    played(play, heartbeat_seconds=0.1)


def test_nobody_looks_when_nobody_views() -> None:
    async def play(store: Store, changes: Changes) -> None:
        stream = changes.stream()
        await anext(stream)
        assert changes.viewers == 1
        await stream.aclose()  # type: ignore[attr-defined]
        assert changes.viewers == 0
        before = store.looks
        await asyncio.sleep(0.05)
        assert store.looks <= before + 1
        assert await anext(changes.stream()) == UPDATE

    played(play)


def test_all_streams_end_at_the_end() -> None:
    async def play(store: Store, changes: Changes) -> None:
        streams = [changes.stream() for _ in range(3)]
        for stream in streams:
            await anext(stream)
        reading = [asyncio.ensure_future(rest(stream)) for stream in streams]
        await asyncio.sleep(0)
        changes.end()
        assert await asyncio.gather(*reading) == [[], [], []]
        assert await rest(changes.stream()) == []

    played(play)


async def rest(stream: AsyncIterator[str]) -> list[str]:
    return [part async for part in stream]


# What counts as new


@pytest.fixture
def mongo(mongo_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        yield client


@pytest.mark.parametrize("what", ["a marked hour", "a catalogue", "a dead letter"])
def test_what_is_stored_is_new(what: str, mongo: MongoClient[dict[str, Any]], mongo_database: str) -> None:
    database = mongo[mongo_database]
    reads = MongoReads(mongo, mongo_database)

    def store(number: int) -> None:
        if what == "a marked hour":
            token = {"$set": {"token": ObjectId()}}
            database[ROLLUP_MARKS].update_one({"_id": 491_000}, token, upsert=True)
        elif what == "a catalogue":
            database[CATALOG].insert_one({"_id": number, "applied_at": datetime.now(UTC)})
        else:
            database[DEAD_LETTERS].insert_one({"_id": f"topic-0-{number}"})

    states = [reads.state(), reads.state()]
    for number in (1, 2):
        store(number)
        states += [reads.state(), reads.state()]
    assert states[0::2] == states[1::2]
    assert len(set(states)) == 3


# Over HTTP


@contextmanager
def served(stage: Stage) -> Iterator[httpx.Client]:
    with (
        serving(stage.app, http="h11", lifespan="off") as (host, port),
        httpx.Client(
            base_url=f"http://{host}:{port}", timeout=20, limits=httpx.Limits(max_connections=100)
        ) as client,
    ):
        yield client


def test_a_stream_is_not_kept_by_anybody_and_counts_once_it_begins() -> None:
    stage = Stage()
    with served(stage) as client, client.stream("GET", "/events") as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        texts = stream.iter_text()
        assert next(texts) == UPDATE
        stage.send("token.usage.v1", b"{")
        assert next(texts) == UPDATE


def test_viewers_have_a_limit_and_leave_room_for_questions() -> None:
    stage = Stage()
    with served(stage) as client, ExitStack() as held:
        streams = [held.enter_context(client.stream("GET", "/events")) for _ in range(50)]
        until(lambda: stage.changes.viewers == 50, "all are there")
        with client.stream("GET", "/events") as refused:
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        assert client.get("/cost").status_code == 200
        streams[0].close()
        until(lambda: stage.changes.viewers == 49, "one has gone")
        with client.stream("GET", "/events") as another:
            assert another.status_code == 200


def test_a_head_leaves_no_viewer() -> None:
    stage = Stage()
    with served(stage) as client:
        assert client.head("/events").status_code == 200
        until(lambda: stage.changes.viewers == 0, "it has gone")


def test_a_stream_is_measured_by_how_soon_it_begins() -> None:
    stage = Stage()
    with served(stage) as client:
        with client.stream("GET", "/events") as stream:
            assert stream.status_code == 200
            until(lambda: stage.changes.viewers == 1, "it is open")
        count = 'gpu_token_http_request_seconds_count{route="/events",status="200"} 1.0'
        until(lambda: count in client.get("/metrics").text, "it has been measured")
        (line,) = (
            line
            for line in client.get("/metrics").text.splitlines()
            if line.startswith('gpu_token_http_request_seconds_sum{route="/events"')
        )
        assert float(line.split()[-1]) < 1


def test_a_processor_that_is_stopped_ends_its_streams() -> None:
    with Process(**NOBODY) as process:
        host, port = process.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.status == 200
        process.popen.send_signal(signal.SIGTERM)
        # To the end of the body: a connection that is cut would raise.
        assert answer.read().decode().replace(HEARTBEAT, "") == ""
        output, _ = process.popen.communicate(timeout=30)
        assert process.popen.returncode == 0
        assert "Cancel" not in output
        assert "stopped in order" in output
