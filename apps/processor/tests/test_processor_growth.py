"""An answer reads only its range, through an index, however much is stored; and it ends in time."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from closing_cases import MemoryClosings
from fastapi.testclient import TestClient
from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE
from gpu_token_processor.api import app
from gpu_token_processor.api.answers import Answers
from gpu_token_processor.api.events import Changes
from gpu_token_processor.api.limits import Rates
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.rollups.view import NO_ROLLUPS
from gpu_token_processor.store.collections import GPU_LATEST
from gpu_token_processor.store.reads import MongoReads
from processor_fakes import NOW
from processor_mongo import database
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

WINDOW_SECONDS, GAP_SECONDS = 30.0, 30.0
EVENTS = 1_000
COMMAND_FIELDS = {"find", "aggregate", "filter", "pipeline", "projection", "sort", "limit", "cursor"}


class Asked(CommandListener):
    """What the store was asked of the events."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        command = dict(event.command)
        if command.get(event.command_name) in (COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE):
            self.commands.append({name: command[name] for name in command if name in COMMAND_FIELDS})

    def succeeded(self, event: object) -> None:
        """Of no interest."""

    failed = succeeded


class Api:
    """Over a store with an event of each kind in every second up to now."""

    def __init__(self, url: str, database: str) -> None:
        self.asked = Asked()
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(
            url, tz_aware=True, event_listeners=[self.asked]
        )
        self.database = self.mongo[database]
        self._fill()
        reads = MongoReads(self.mongo, database)
        answers = Answers(reads, WINDOW_SECONDS, GAP_SECONDS, 0.85, None)
        exports = Exports(reads, NO_ROLLUPS, round(GAP_SECONDS * 1_000_000), exact(0.85), MemoryClosings())
        health: Any = None
        budgets: Any = None
        rates = Rates(may_ask=1_000, strangers=1_000)
        parts = app.Parts(
            answers, exports, Changes(reads.state), budgets, Metrics(), health, health, health, None, rates
        )
        self.http = TestClient(app.create_app(parts))

    def _fill(self) -> None:
        times = [NOW - timedelta(seconds=second) for second in range(EVENTS)]
        gpu = {"gpu_id": "gpu-a/0/RTX 3090", "host": "gpu-a", "gpu_index": 0, "name": "RTX 3090"}
        metrics = [{**gpu, "ts": ts, "utilization": 0.5, "power_w": 280} for ts in times]
        tokens = {"model": "m", "host": "gpu-a", "gpu_index": 0, "prompt_tokens": 2, "completion_tokens": 1}
        self.database[COLLECTION_GPU_METRICS].insert_many(metrics)
        self.database[GPU_LATEST].insert_one({**gpu, "_id": gpu["gpu_id"], "ts": NOW})
        self.database[COLLECTION_TOKEN_USAGE].insert_many([{**tokens, "ts": ts} for ts in times])

    def indexes_of(self, command: dict[str, Any]) -> list[dict[str, int]]:
        """Keys of the indexes by which the store would carry the command out."""
        return list(index_keys(self.database.command({"explain": command, "verbosity": "queryPlanner"})))


def index_keys(plan: Any) -> Iterator[dict[str, int]]:
    if isinstance(plan, dict):
        if plan.get("stage") == "IXSCAN":
            yield dict(plan["keyPattern"])
        assert plan.get("stage") != "COLLSCAN"
        for part in plan.values():
            yield from index_keys(part)
    if isinstance(plan, list):
        for part in plan:
            yield from index_keys(part)


@pytest.fixture(scope="module")
def filled(mongo_url: str) -> Iterator[Api]:
    with database(mongo_url) as name:
        made = Api(mongo_url, name)
        yield made
        made.mongo.close()


@pytest.fixture
def api(filled: Api) -> Api:
    filled.asked.commands.clear()
    return filled


def earliest(command: dict[str, Any]) -> datetime:
    wanted = command["filter"] if "find" in command else command["pipeline"][0]["$match"]
    # Long intervals are found by their length, of which there are none.
    bound: datetime = wanted["ts"]["$gte"] if "ts" in wanted else NOW
    return bound


@pytest.mark.parametrize("path", ["/cost", "/throughput", "/gpu/info"])
def test_the_window_is_all_that_is_read(api: Api, path: str) -> None:
    answer = api.http.get(path)
    assert answer.status_code == 200
    if path == "/cost":
        assert (answer.json()["gpu_seconds"], answer.json()["tokens"]["events"]) == (WINDOW_SECONDS, 30)
    assert api.asked.commands
    for command in list(api.asked.commands):
        assert earliest(command) >= NOW - timedelta(seconds=WINDOW_SECONDS + GAP_SECONDS)
        assert api.indexes_of(command)[0] in ({"ts": 1}, {"interval_seconds": 1}), command


def test_a_models_range_goes_by_model_and_time(api: Api) -> None:
    api.http.get("/usage", params={"model": "m", "start": (NOW - timedelta(minutes=1)).isoformat()})
    (command,) = api.asked.commands
    assert {"model": 1, "ts": 1} in api.indexes_of(command)


def test_an_answer_that_takes_too_long_is_a_problem_that_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "ANSWER_SECONDS", 0.001)
    response = api.http.get("/usage")
    assert (response.status_code, response.json()["title"]) == (503, "The answer takes too long")
    assert "shorter range" in response.json()["detail"]
    monkeypatch.setattr(app, "ANSWER_SECONDS", 30)
    assert api.http.get("/usage").json()["totals"]["events"] == EVENTS
