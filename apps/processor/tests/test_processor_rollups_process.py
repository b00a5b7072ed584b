"""Roll-ups of the processor as a process: its thread, its command, its metrics."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gpu_token_processor.rollups import command
from gpu_token_processor.store.rollups import MongoRollups
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN, metric, usage
from processor_kafka import MockKafka
from processor_process import Process
from pymongo import MongoClient
from rollup_cases import KEEPS_ALL

from testing.waiting import until

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOURS = 3
RANGE = {"start": START.isoformat(), "end": (START + timedelta(hours=HOURS)).isoformat(), "step": "hour"}


def at(minute: int) -> str:
    return (START + timedelta(minutes=minute)).isoformat()


METRICS = [metric(ts=at(minute), event_id=f"m{minute}") for minute in range(60 * HOURS)]
USAGE = [usage(ts=at(minute), event_id=f"u{minute}") for minute in range(0, 60 * HOURS, 7)]


@pytest.fixture
def hours(mongo_url: str, mongo_database: str) -> Iterator[MongoRollups]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield MongoRollups(client, mongo_database, KEEPS_ALL)


def read_from(answer: dict[str, Any]) -> str:
    """Taken out of the answer, which is the same otherwise."""
    told: str = answer["coverage"].pop("read_from")
    return told


def test_events_are_marked_and_counted_and_change_no_answer(
    mongo_url: str, mongo_database: str, hours: MongoRollups
) -> None:
    environment = {"MONGO_URL": mongo_url, "MONGO_DATABASE": mongo_database}
    with MockKafka() as kafka:
        kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
        with Process(KAFKA_BOOTSTRAP=kafka.bootstrap, **environment) as process:
            kafka.send(TOPIC_METRIC, *METRICS)
            kafka.send(TOPIC_TOKEN, *USAGE)
            until(lambda: process.answer("/usage")["totals"]["events"] == len(USAGE), "stored")
            until(lambda: len(process.answer("/cost", **RANGE)["gpus"]) == 1, "stored")
            until(lambda: hours.backlog().hours == HOURS, "marked")
            raw = process.answer("/cost", **RANGE)
            assert read_from(raw) == "raw"

            # Nobody need wait until they are quiet.
            hours.mark(range(*(int(START.timestamp()) // 3600 + hour for hour in (0, HOURS))))
            until(lambda: hours.backlog().hours == 0, "counted by the processor's own thread")
            until(lambda: read_from(process.answer("/cost", **RANGE)) == "rollups", "the cache is over")
            counted = process.answer("/cost", **RANGE)
            assert (read_from(counted), counted) == ("rollups", raw)
            metrics = process.get("/metrics")[1]
            assert f"gpu_token_rollup_hours_total {float(HOURS)}" in metrics
            assert "gpu_token_rollup_failures_total 0.0" in metrics

            kafka.send(TOPIC_METRIC, METRICS[0])
            until(lambda: hours.backlog().hours == 1, "a duplicate marks its hour")
            rebuilt = subprocess.run(
                [sys.executable, "-m", "gpu_token_processor", "rollup", "--rebuild"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert rebuilt.stdout.splitlines() == [
                f"{HOURS} hours have been counted again.",
                f"{HOURS} hours are counted; events of 0 have changed since.",
            ]
            assert "3/3" in rebuilt.stderr
            after = process.answer("/cost", **RANGE)
            assert (read_from(after), after) == ("rollups", raw)


def test_days_that_are_over_are_shared_and_change_no_answer(
    mongo_url: str, mongo_database: str, hours: MongoRollups
) -> None:
    midnight = START.replace(hour=0)
    asked = {"start": midnight.isoformat(), "end": (midnight + timedelta(days=2)).isoformat()}
    events = [at(60 * hour) for hour in range(-12, 37)]
    with MockKafka() as kafka:
        kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
        with Process(
            KAFKA_BOOTSTRAP=kafka.bootstrap, MONGO_URL=mongo_url, MONGO_DATABASE=mongo_database
        ) as process:
            kafka.send(TOPIC_METRIC, *(metric(ts=ts, event_id=ts) for ts in events))
            kafka.send(TOPIC_TOKEN, *(usage(ts=ts, event_id=ts) for ts in events))
            until(lambda: process.answer("/usage")["totals"]["events"] == len(events), "stored")
            until(lambda: process.answer("/cost", **asked)["gpus"][0]["readings"] == 48, "stored")
            raw = process.answer("/cost", **asked)
            first = int(midnight.timestamp()) // 3600
            hours.mark(range(first, first + 49))
        counted = command_output(mongo_url, mongo_database, "--rebuild")
        assert counted[0] == "49 hours have been counted again."
        with Process(
            KAFKA_BOOTSTRAP=kafka.bootstrap, MONGO_URL=mongo_url, MONGO_DATABASE=mongo_database
        ) as process:
            until(lambda: "gpu_token_rollup_days_total 2.0" in process.get("/metrics")[1], "shared")
            shared = process.answer("/cost", **asked)
    read_from(raw)
    assert (read_from(shared), shared) == ("rollups", raw)


def command_output(mongo_url: str, mongo_database: str, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gpu_token_processor", "rollup", *options],
        env={"MONGO_URL": mongo_url, "MONGO_DATABASE": mongo_database},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, mongo_url: str, mongo_database: str) -> None:
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("MONGO_DATABASE", mongo_database)


@pytest.mark.usefixtures("store")
def test_an_empty_store_has_no_hours(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--rebuild"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "0 hours have been counted again."


@pytest.mark.usefixtures("store")
def test_only_the_hours_of_a_range_are_rebuilt(
    mongo_url: str, mongo_database: str, hours: MongoRollups, capsys: pytest.CaptureFixture[str]
) -> None:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        events = [
            {"_id": hour, "model": "m", "prompt_tokens": 1, "completion_tokens": 0} for hour in range(4)
        ]
        times = [{"ts": START + timedelta(hours=event["_id"])} for event in events]
        client[mongo_database]["token_usage"].insert_many(
            [event | time for event, time in zip(events, times, strict=True)]
        )
    assert command.main(["--rebuild", "--start", at(70), "--end", at(121)]) == 0
    first = int(START.timestamp()) // 3600
    assert [hour - first for hour, _ in hours.clean(None, None)] == [1, 2]
    assert capsys.readouterr().out.splitlines()[0] == "2 hours have been counted again."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rebuild", "--start", "soon"], "--start is 'soon': it "),
        (["--end", at(0)], "--start and --end are given without --rebuild"),
        ([], "MONGO_URL is not set"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGO_URL", raising=False)
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_another_command_is_refused() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "gpu_token_processor", "roll"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr.startswith("roll is no command: give rollup")) == (2, True)
