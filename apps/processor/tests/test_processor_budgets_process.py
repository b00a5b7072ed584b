"""Budgets of the processor as a process: its thread, its webhook, its metrics."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from budget_cases import Receiver
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.catalog_store import apply
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN
from processor_kafka import MockKafka
from processor_process import Process
from pymongo import MongoClient
from pymongo.collection import Collection

from testing.waiting import until

# Leased for ever, at the default price: each full hour of a month is far above the budget.
CATALOG = {
    "leases": [{"selector": {"uuid": "GPU-a"}}],
    "budgets": [{"name": "fleet", "usd_per_month": 0.01, "thresholds": [0.5, 1]}],
}


@pytest.fixture
def alerts(mongo_url: str, mongo_database: str) -> Iterator[Collection[dict[str, Any]]]:
    """A store with the catalogue; the thresholds that are noted there."""
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        database = client[mongo_database]
        apply(database, parse_catalog(CATALOG), datetime.now(UTC))
        yield database["budget_alerts"]


@pytest.fixture
def environment(mongo_url: str, mongo_database: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    with MockKafka() as kafka:
        kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
        yield {
            "KAFKA_BOOTSTRAP": kafka.bootstrap,
            "MONGO_URL": mongo_url,
            "MONGO_DATABASE": mongo_database,
            "BUDGET_WEBHOOK_URL_FILE": str(tmp_path / "url"),
        }


def are_told(alerts: Collection[dict[str, Any]]) -> bool:
    return alerts.count_documents({}) > 0 and alerts.count_documents({"told_at": None}) == 0


def test_of_two_processes_one_tells(
    alerts: Collection[dict[str, Any]], environment: dict[str, str], tmp_path: Path
) -> None:
    with Receiver().listening() as receiver:
        (tmp_path / "url").write_text(receiver.url)
        with Process(**environment) as one, Process(**environment) as other:
            until(lambda: "gpu_token_budget_limit_usd{" in one.get("/metrics")[1], "looked at")
            until(lambda: "gpu_token_budget_limit_usd{" in other.get("/metrics")[1], "looked at")
            until(lambda: are_told(alerts), "told")
            noted = [alert["_id"] for alert in alerts.find()]
            assert Counter(receiver.keys) == dict.fromkeys(noted, 1)
            metrics = [process.get("/metrics")[1] for process in (one, other)]
            (budget,) = one.answer("/budgets")["budgets"]
            one.popen.terminate()
            said = one.popen.communicate(timeout=60)[0]
    told = [
        float(re.findall(r"^gpu_token_budget_alerts_total (.*)$", text, re.MULTILINE)[0]) for text in metrics
    ]
    assert sum(told) == len(noted)
    assert 'gpu_token_budget_limit_usd{budget="fleet"} 0.01' in metrics[0]
    assert "gpu_token_budget_look_failures_total 0.0" in metrics[0]
    assert (budget["name"], budget["limit_usd"]) == ("fleet", 0.01)
    assert "token-0123456789" not in said, "the address is in no log"


def test_what_a_killed_process_was_about_to_tell_is_told_by_another(
    alerts: Collection[dict[str, Any]], environment: dict[str, str], tmp_path: Path
) -> None:
    """The receiver had it already, and learns from the key that it is the same."""
    answer = threading.Event()

    def status(_: int) -> int:
        answer.wait(60)
        return 200

    with Receiver(status).listening() as receiver:
        (tmp_path / "url").write_text(receiver.url)
        with Process(**environment) as process:
            until(lambda: len(receiver.told) == 1, "the receiver has it")
            process.popen.kill()
        assert alerts.count_documents({"told_at": {"$ne": None}}) == 0
        answer.set()
        # The claim is over.
        alerts.update_many({}, {"$set": {"due_at": datetime.now(UTC)}})
        with Process(**environment):
            until(lambda: are_told(alerts), "told by another")
    times = Counter(receiver.keys)
    assert set(times) == {alert["_id"] for alert in alerts.find()}
    assert times.pop(receiver.keys[0]) == 2
    assert set(times.values()) == {1}
    first, again = (one for one in receiver.told if one.key == receiver.keys[0])
    assert first == again
