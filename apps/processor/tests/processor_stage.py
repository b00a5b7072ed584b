"""The API over a store in memory, and events that come to it through the data path."""

from datetime import datetime, timedelta
from typing import Any

from closing_cases import MemoryClosings
from fastapi.testclient import TestClient
from gpu_token_processor.api.answers import Answers
from gpu_token_processor.api.app import Parts, create_app
from gpu_token_processor.api.budgets import budgets_answer
from gpu_token_processor.api.events import Changes
from gpu_token_processor.api.limits import Rates
from gpu_token_processor.api.models import ConsumerHealth, FullHealthAnswer, HealthAnswer
from gpu_token_processor.budgets.budgets import Budgets
from gpu_token_processor.exports.days import Ledgers
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.exact import US_PER_SECOND, exact
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.dead_letters import dead_letter
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.storing import store_writes
from gpu_token_processor.rollups.view import NO_ROLLUPS
from processor_fakes import NOW, TOPIC_METRIC, TOPICS, FakeReads, FakeSink, FakeStore, metric, record, usage

CATALOG = parse_catalog(
    {
        "prices": [
            {"selector": {"gpu_name": "RTX 3090"}, "usd_per_hour": 0.85},
            {"selector": {"gpu_name": "A100 40GB"}, "usd_per_hour": 3.2},
        ]
    }
)


class Stage:
    """A store, its API and events that come to it."""

    def __init__(self, token: str | None = None, requests_per_second: float = 1_000) -> None:
        self.store = FakeStore()
        self.reads = FakeReads(self.store, CATALOG)
        self.reasons: list[str] = []
        self.now = NOW + timedelta(days=365)
        self._offset = 0
        self.answers = Answers(self.reads, 30, 30, 0.85, price_per_kwh_usd=0.2, now=lambda: self.now)
        self.closings = MemoryClosings()
        self.exports = Exports(
            self.reads, NO_ROLLUPS, 30 * US_PER_SECOND, exact(0.85), self.closings, now=lambda: self.now
        )
        self.changes = Changes(self.reads.state, look_seconds=0.05)
        self.crossed_at: dict[str, datetime] = {}
        self.budgets = Budgets(
            lambda: Ledgers(self.reads, NO_ROLLUPS, 30 * US_PER_SECOND, exact(0.85)),
            lambda: range(0),
        )
        parts = Parts(
            self.answers,
            self.exports,
            self.changes,
            lambda: budgets_answer(self.budgets, lambda _: self.crossed_at, self.now),
            Metrics(),
            self._health,
            self._health,
            self._full_health,
            token,
            Rates(may_ask=requests_per_second, strangers=requests_per_second),
            catalog=lambda: self.reads.catalog(),
        )
        self.app = create_app(parts)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def _health(self) -> HealthAnswer:
        return HealthAnswer(status="unhealthy" if self.reasons else "ok", reasons=self.reasons)

    def _full_health(self) -> FullHealthAnswer:
        return FullHealthAnswer(
            **self._health().model_dump(),
            version="0",
            warnings=[],
            disks=[],
            consumer=ConsumerHealth(
                phase="running", seconds_since_poll=0.1, assigned_partitions=6, lag_events=0, paused=False
            ),
            kafka=None,
            mongodb=None,
            dead_letter_guard=None,
        )

    def send(self, topic: str, *events: dict[str, Any] | bytes) -> None:
        """Through the data path, one after the other."""
        decoder = Decoder(TOPICS, timedelta(days=3650), timedelta(minutes=10), lambda: NOW)
        for event in events:
            batch = decoder.decode([record(event, self._offset, topic=topic)])
            for collection, writes in batch.writes.items():
                batch.refusals += store_writes(self.store, collection, writes).refusals
            dead_letter(FakeSink(), self.store, batch.refusals, lambda: NOW)
            self._offset += 1

    def get(self, path: str, **parameters: Any) -> Any:
        """The answer, which must be a good one."""
        response = self.client.get(path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()


def at(seconds: float) -> str:
    return (NOW - timedelta(minutes=1) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def thirty_seconds(stage: Stage) -> None:
    """The worked example of docs/cost-model.md: a reading each second, two usage events a second."""
    stage.send(TOPIC_METRIC, *(metric(ts=at(second)) for second in range(-1, 30)))
    stage.send("token.usage.v1", *(usage(ts=at(half / 2)) for half in range(60)))


EXAMPLE = {"start": at(0), "end": at(30)}
