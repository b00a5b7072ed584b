"""Each threshold that is crossed is told once in a month: with several processors, failures and kills."""

import logging
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import certifi
import pytest
from budget_cases import Receiver, budgets_of
from gpu_token_processor.budgets import webhook
from gpu_token_processor.budgets.telling import Telling
from gpu_token_processor.budgets.watch import Watch, months_watched
from gpu_token_processor.budgets.webhook import Webhook, WebhookError, read_webhook_url
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.settings import SettingsError
from gpu_token_processor.store.alerts import CLAIM, Alerts, MongoAlerts
from processor_fakes import FakeReads, FakeStore
from pymongo import MongoClient
from rollup_actors import Actor

from testing.authority import Authority

NOON = datetime(2026, 1, 11, 12, tzinfo=UTC)
# Leased, and used by nobody: since the beginning of the month it has cost 252 USD.
CATALOG = {
    "prices": [{"selector": {"uuid": "GPU-a"}, "usd_per_hour": 1}],
    "leases": [{"selector": {"uuid": "GPU-a"}}],
    "budgets": [{"name": "fleet", "usd_per_month": 250}],
}


class World:
    """A store, a clock, and what all processors see of them."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str) -> None:
        self.alerts = MongoAlerts(client, database)
        self.documents = client[database]["budget_alerts"]
        self.reads = FakeReads(FakeStore(), parse_catalog(CATALOG))
        self.metrics = Metrics()
        self.time = NOON

    def turn(self, receiver: Any, alerts: Alerts | None = None) -> None:
        """One turn of a processor's thread."""
        alerts = alerts or self.alerts
        Watch(budgets_of(self.reads), alerts).look(self.time)
        Telling(alerts, receiver, self.metrics, lambda: self.time).tell()

    def declare(self, **budget: Any) -> None:
        """Another catalogue, with this one budget."""
        self.reads.declared = parse_catalog({**CATALOG, "budgets": [{"name": "fleet", **budget}]})

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"gpu_token_budget_{name}_total")


@pytest.fixture
def world(mongo_url: str, mongo_database: str) -> Iterator[World]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield World(client, mongo_database)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as listening:
        yield listening


def test_each_threshold_is_told_once_in_a_month(world: World, receiver: Receiver) -> None:
    for hour in range(48):
        world.time = NOON + timedelta(hours=hour)
        world.turn(Webhook(receiver.url))
    assert [(one.path, one.body["threshold_share"]) for one in receiver.told] == [
        ("/hooks/token-0123456789", 0.8),
        ("/hooks/token-0123456789", 1.0),
    ]
    assert receiver.keys == [one.body["id"] for one in receiver.told]
    assert receiver.told[1].body == {
        "text": "Budget fleet has reached 100 % in 2026-01: 252.00 of 250.00 USD are spent. "
        "At this rate it will be 744.00 USD at the end of the month.",
        "id": receiver.keys[1],
        "budget": "fleet",
        "selector": {},
        "month": "2026-01",
        "threshold_share": 1.0,
        "limit_usd": 250.0,
        "spent_usd": 252.0,
        "spent_share": 1.008,
        "forecast_usd": 744.0,
        "counted_until": "2026-01-11T12:00:00Z",
        "crossed_at": "2026-01-11T12:00:00Z",
    }
    assert (world.value("alerts"), world.value("alert_failures")) == (2, 0)
    assert world.alerts.crossed("2026-01") == dict.fromkeys(receiver.keys, NOON)
    world.time = datetime(2026, 2, 20, tzinfo=UTC)
    world.turn(Webhook(receiver.url))
    assert [one.body["month"] for one in receiver.told[2:]] == ["2026-02", "2026-02"]


def test_another_amount_has_thresholds_of_its_own(world: World, receiver: Receiver) -> None:
    world.turn(Webhook(receiver.url))
    world.declare(usd_per_month=300, valid_from="2026-01-11T12:00:00Z")
    world.turn(Webhook(receiver.url))
    world.declare(usd_per_month=300)
    world.turn(Webhook(receiver.url))
    assert [(one.body["limit_usd"], one.body["threshold_share"]) for one in receiver.told] == [
        (250.0, 0.8),
        (250.0, 1.0),
        (300.0, 0.8),
    ]


def test_the_last_hour_of_a_month_counts_too(world: World, receiver: Receiver) -> None:
    world.declare(usd_per_month=744, thresholds=[1])
    world.time = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    world.turn(Webhook(receiver.url))
    assert receiver.told == []
    world.time = datetime(2026, 2, 1, 0, 0, 30, tzinfo=UTC)
    world.turn(Webhook(receiver.url))
    assert [one.body["month"] for one in receiver.told] == ["2026-01"]


def test_which_months_are_watched() -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    assert months_watched(first) == [Month(2026, 2), Month(2026, 3)]
    assert months_watched(first + timedelta(days=1)) == [Month(2026, 3)]


def test_without_a_webhook_it_is_noted_and_told_when_there_is_one(world: World, receiver: Receiver) -> None:
    Watch(budgets_of(world.reads), world.alerts).look(world.time)
    assert len(world.alerts.crossed("2026-01")) == 2
    world.time += timedelta(days=3)
    world.turn(Webhook(receiver.url))
    assert [one.body["crossed_at"] for one in receiver.told] == ["2026-01-11T12:00:00Z"] * 2


def test_a_failing_receiver_is_asked_again_until_it_takes_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.declare(usd_per_month=250, thresholds=[1])
    failures: list[int | None] = [500, 429, None, 307, 404]

    def status(number: int) -> int:
        if number >= len(failures):
            return 204
        if (failure := failures[number]) is None:
            raise ConnectionError
        return failure

    with Receiver(status).listening() as receiver, caplog.at_level(logging.DEBUG):
        telling = Telling(world.alerts, Webhook(receiver.url), world.metrics, lambda: world.time)
        watch = Watch(budgets_of(world.reads), world.alerts)
        asked_at = []
        # Until the end of the month.
        for minute in range(20 * 24 * 60):
            world.time = NOON + timedelta(minutes=minute)
            if minute == 0:
                watch.look(world.time)
            telling.tell()
            if len(receiver.told) > len(asked_at):
                asked_at.append(minute)
            if len(asked_at) > len(failures):
                break
    # A minute, and twice as long after each failure.
    assert asked_at == [0, 1, 3, 7, 15, 31]
    assert len(set(receiver.keys)) == 1
    assert len({str(one.body) for one in receiver.told}) == 1, "the same content"
    assert {one.path for one in receiver.told} == {"/hooks/token-0123456789"}, "nobody is sent elsewhere"
    assert (world.value("alerts"), world.value("alert_failures")) == (1, 5)
    said = [one.message for one in caplog.records if "webhook" in one.message]
    assert len(said) == 5, "each kind once"
    assert "token-0123456789" not in caplog.text


def test_one_kind_of_failure_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(lambda _: 500).listening() as receiver:
        telling = Telling(world.alerts, Webhook(receiver.url), world.metrics, lambda: world.time)
        Watch(budgets_of(world.reads), world.alerts).look(world.time)
        for _ in range(3):
            telling.tell()
            world.time += timedelta(hours=2)
    assert world.value("alert_failures") == 6
    assert len([one for one in caplog.records if "status 500" in one.message]) == 1


@pytest.mark.parametrize("seed", range(8))
def test_two_processors_tell_each_threshold_once(world: World, receiver: Receiver, seed: int) -> None:
    rng = random.Random(seed)
    actors = [
        Actor(lambda actor: world.turn(actor.over(Webhook(receiver.url)), actor.over(world.alerts)))
        for _ in range(2)
    ]
    while any(not actor.is_done for actor in actors):
        rng.choice([actor for actor in actors if not actor.is_done]).go()
    assert Counter(receiver.keys) == dict.fromkeys(world.alerts.crossed("2026-01"), 1)
    assert len(receiver.keys) == 2


def test_one_that_is_killed_anywhere_leaves_it_to_the_next(world: World, receiver: Receiver) -> None:
    """Twice only where the receiver had taken it, and nobody had noted that yet."""
    calls = 0
    repeated = []
    while True:
        world.documents.delete_many({})
        receiver.told.clear()
        world.time = NOON
        actor = Actor(lambda actor: world.turn(actor.over(Webhook(receiver.url)), actor.over(world.alerts)))
        for _ in range(calls):
            actor.go()
        was_done = actor.is_done
        actor.kill()
        world.turn(Webhook(receiver.url))
        world.time += CLAIM
        world.turn(Webhook(receiver.url))
        times = Counter(receiver.keys)
        assert set(times) == set(world.alerts.crossed("2026-01"))
        assert len(times) == 2
        assert sorted(times.values()) in ([1, 1], [1, 2])
        if sorted(times.values()) == [1, 2]:
            repeated.append(calls)
        if was_done:
            break
        calls += 1
    # crossed, note, note; claim, post, told for each; claim.
    assert calls == 10
    assert repeated == [5, 8], "between post and told"


def test_what_is_crossed_and_falls_below_again_was_told(world: World, receiver: Receiver) -> None:
    """A late correction, here of a price."""
    world.turn(Webhook(receiver.url))
    cheaper = [replace(price, usd_per_gpu_hour=Fraction(1, 2)) for price in world.reads.declared.prices]
    dear = world.reads.declared
    world.reads.declared = replace(dear, prices=tuple(cheaper))
    world.turn(Webhook(receiver.url))
    world.reads.declared = dear
    world.turn(Webhook(receiver.url))
    assert len(receiver.told) == 2


@pytest.mark.parametrize("url", ["https://hooks.example.com/a?token=b", "http://user:word@10.0.0.1:9000"])
def test_addresses(url: str, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{url}\n")
    assert read_webhook_url(str(file)) == url


@pytest.mark.parametrize(
    "text",
    ["ftp://secret.example.com", "secret.example.com", "https://", "https://secret\nhttps://b"],
)
def test_what_is_no_address_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_webhook_url(str(file))
    assert "secret" not in str(refused.value)
    assert str(refused.value).endswith("begins with https:// or http:// and names a host.")


def test_who_is_not_there_is_named_by_kind_alone() -> None:
    with pytest.raises(WebhookError, match=r"^ConnectError$"):
        Webhook("http://127.0.0.1:9/token").post("{}", "key")


def test_who_has_no_certificate_of_a_known_authority_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "unknown")
    with Receiver().listening(authority.server_pem) as receiver:
        with pytest.raises(WebhookError, match=r"^ConnectError$"):
            Webhook(receiver.url).post("{}", "key")
        assert receiver.told == []
        monkeypatch.setattr(certifi, "where", lambda: str(authority.file))
        Webhook(receiver.url).post("{}", "key")
        assert receiver.keys == ["key"]


def test_one_who_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_SECONDS", 0.2)
    answer = threading.Event()
    with Receiver(lambda _: 200 if answer.wait(60) else 500).listening() as receiver:
        with pytest.raises(WebhookError, match=r"^no answer within 0.2 s$"):
            Webhook(receiver.url).post("{}", "key")
        answer.set()
