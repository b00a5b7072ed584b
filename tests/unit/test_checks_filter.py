"""Records of checks, of tasks that passed and of tasks that failed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.filter import checks

FAILED = {"failed": False, "msg": "it is down\nand so on"}


def said(records: list[dict[str, Any]]) -> dict[str, tuple[bool, str]]:
    """Name -> whether it passed and why; no name stands twice."""
    assert all(set(record) == {"name", "passed", "detail"} for record in records)
    assert len({record["name"] for record in records}) == len(records)
    return {record["name"]: (record["passed"], record["detail"]) for record in records}


def test_a_knock_passes_where_the_port_is_open() -> None:
    item = {"name": "reaches kafka-1", "detail": "port 9092 open"}
    results = [
        {"item": item, "state": "started"},
        {"item": {**item, "name": "reaches mongo-1"}, "msg": "Timeout when waiting for 10.0.1.2:27017"},
        {"item": {**item, "name": "open to the operator"}, "skipped": True},
    ]
    assert said(checks.knock_checks({"results": results})) == {
        "reaches kafka-1": (True, "port 9092 open"),
        "reaches mongo-1": (False, "Timeout when waiting for 10.0.1.2:27017"),
    }
    assert checks.knock_checks({"skipped": True}) == []


@pytest.mark.parametrize(
    ("free_percent", "passed", "begins"),
    [
        (100, True, "0 % of the 20.0 GiB"),
        (21, True, "79 %"),
        (20, True, "Nearly full: 80 %"),
        (6, True, "Nearly full: 94 %"),
        (5, False, "Full: 95 %"),
        (0, False, "Full: 100 %"),
    ],
)
def test_a_disk_is_named_from_80_percent_on_and_fails_from_95(
    free_percent: int, passed: bool, begins: str
) -> None:
    size = 20 * 2**30
    df = {"rc": 0, "stdout": f"1B-blocks Avail\n{size} {size * free_percent // 100}"}
    found = checks.disk_check(df, "/srv/kafka/data")
    assert (found["passed"], found["detail"].startswith(begins)) == (passed, True), found
    assert found["detail"].endswith("(docs/sizing.md).") is not begins[0].isdigit()


@pytest.mark.parametrize(("free_bytes", "there_is"), [(512 * 2**20, True), (512 * 2**20 - 1, False)])
def test_there_is_room_for_what_is_free(free_bytes: int, there_is: bool) -> None:
    assert checks.has_room({"rc": 0, "stdout": f"1B-blocks Avail\n{2**40} {free_bytes}"}, 512) is there_is


def test_a_disk_that_cannot_be_looked_at_fails() -> None:
    df = {"rc": 1, "stdout": "", "stderr": "df: /srv/x: No such file or directory"}
    assert said([checks.disk_check(df, "/srv/x")]) == {
        "free space": (False, "df /srv/x: df: /srv/x: No such file or directory")
    }
    assert checks.has_room(df, 512), "a folder that is not there yet"
    assert said([checks.disk_check(FAILED, "/srv/x")]) == {"free space": (False, "df /srv/x: it is down")}


def container(status: str = "running", health: dict[str, str] | None = None) -> dict[str, str]:
    """What docker inspect prints."""
    state = {"Status": status, **({"Health": health} if health else {})}
    return {"stdout": json.dumps([{"State": state, "Config": {"Image": "kafka:1"}}])}


def test_a_container_is_healthy_of_the_wanted_image_and_not_roots() -> None:
    inspected = container(health={"Status": "healthy"})
    assert said(
        checks.container_checks(inspected, {"stdout": "kafka:1\n"}, {"stdout": "1000\n"}, "kafka")
    ) == {
        "container healthy": (True, "kafka running, healthy"),
        "container image": (True, "kafka:1"),
        "container user": (True, "uid 1000"),
    }


@pytest.mark.parametrize(
    ("inspected", "image", "user", "wrong"),
    [
        (container("exited"), "kafka:1", "1000", "container healthy"),
        (container(), "kafka:1", "1000", "container healthy"),
        (container(health={"Status": "starting"}), "kafka:1", "1000", "container healthy"),
        (container(health={"Status": "healthy"}), "kafka:2", "1000", "container image"),
        (container(health={"Status": "healthy"}), "", "1000", "container image"),
        (container(health={"Status": "healthy"}), "kafka:1", "0", "container user"),
        (container(health={"Status": "healthy"}), "kafka:1", "", "container user"),
    ],
)
def test_each_part_of_a_container_can_fail(
    inspected: dict[str, str], image: str, user: str, wrong: str
) -> None:
    records = said(checks.container_checks(inspected, {"stdout": image}, {"stdout": user}, "kafka"))
    assert {name for name, (passed, _) in records.items() if not passed} == {wrong}


def test_a_container_whose_user_cannot_be_asked_says_why() -> None:
    user = {"stdout": "", "stderr": "container is not running\n", "msg": "non-zero return code"}
    records = said(checks.container_checks(container("exited"), {"stdout": "kafka:1"}, user, "kafka"))
    assert records["container user"] == (False, "container is not running")


def test_a_machine_without_the_container_says_what_to_run() -> None:
    records = checks.container_checks({"stdout": "[]\n", "rc": 1}, FAILED, FAILED, "kafka")
    assert said(records) == {
        f"container {part}": (False, "There is no container kafka; run site.yml.")
        for part in ("healthy", "image", "user")
    }


TOPICS = [
    {"name": "token.usage.v1", "partitions": 3, "retention_hours": 168},
    {"name": "token.usage.v1.dlq", "partitions": 1},
]


def test_a_topic_that_would_change_or_has_no_leader_fails_and_no_other() -> None:
    compared = {
        "actions": ["set retention.ms=1 on token.usage.v1.dlq"],
        "unhealthy": ["partition 0 of token.usage.v1.dlq has no leader"],
    }
    assert said(checks.topic_checks(compared, TOPICS)) == {
        "topic token.usage.v1": (True, "3 partitions, 168 h"),
        "topic token.usage.v1.dlq": (False, "; ".join(compared["actions"] + compared["unhealthy"])),
    }


def test_topics_that_cannot_be_asked_about_fail() -> None:
    assert set(said(checks.topic_checks(FAILED, TOPICS)).values()) == {(False, "it is down")}


def test_a_topic_without_its_own_retention_has_the_default() -> None:
    compared: dict[str, Any] = {"actions": [], "unhealthy": []}
    assert checks.topic_checks(compared, TOPICS[1:])[0]["detail"] == "1 partitions, the default h"


def test_a_plan_must_be_empty() -> None:
    assert said([checks.plan_check({"actions": []}, "indexes", "6 present")]) == {
        "indexes": (True, "6 present")
    }
    assert said([checks.plan_check({"actions": ["a", "b"]}, "indexes", "")]) == {"indexes": (False, "a; b")}
    assert said([checks.plan_check(FAILED, "indexes", "")]) == {"indexes": (False, "it is down")}


def test_the_store_must_have_the_catalogue() -> None:
    told = {"changed": False, "actions": [], "version": "0123"}
    assert said(checks.catalog_checks({"rc": 0, "stdout": json.dumps(told)})) == {
        "catalogue": (True, "version 0123")
    }
    told["actions"] = ["prices: add H100"]
    assert said(checks.catalog_checks({"rc": 0, "stdout": json.dumps(told)})) == {
        "catalogue": (False, "prices: add H100")
    }
    refused = {
        "rc": 2,
        "stdout": "",
        "stderr": "-: prices is {}: give a list.",
        "msg": "non-zero return code",
    }
    assert said(checks.catalog_checks(refused)) == {"catalogue": (False, "-: prices is {}: give a list.")}
    assert said(checks.catalog_checks(FAILED)) == {"catalogue": (False, "it is down")}
    assert checks.catalog_checks({"skipped": True}) == []


@pytest.mark.parametrize(
    ("behind", "letters", "allowed", "failed"),
    [
        (0, 0, False, set()),
        (0, 2, True, set()),
        (0, 2, False, {"dead letters"}),
        (3, 0, True, {"consumer lag"}),
        (None, 0, True, {"consumer lag"}),
    ],
)
def test_nothing_may_be_behind(behind: int | None, letters: int, allowed: bool, failed: set[str]) -> None:
    consumed = {"behind": behind, "dead_letters": letters, "group": "g", "since": "2026-01-01T00:00:00Z"}
    records = said(checks.consumed_checks(consumed, allowed))
    assert {name for name, (passed, _) in records.items() if not passed} == failed
    assert records["dead letters"][1] == f"{letters} since 2026-01-01T00:00:00Z"


def test_a_machine_that_was_not_asked_about_a_group_says_nothing() -> None:
    assert checks.consumed_checks({"skipped": True}, True) == []


def test_a_group_that_cannot_be_asked_about_fails() -> None:
    assert set(said(checks.consumed_checks(FAILED, True)).values()) == {(False, "it is down")}


WELL = {"status": 200, "json": {"status": "ok", "reasons": []}}
DOWN = {"status": 503, "json": {"status": "down", "reasons": ["Kafka.", "MongoDB."]}}
REFUSED = {"status": -1, "msg": "refused"}
GPUS = {"status": 200, "json": {"items": [1, 2]}}


def test_the_api_is_well_tells_of_gpus_and_asks_for_its_token() -> None:
    assert said(checks.api_checks(WELL, GPUS, {"status": 401}, "token")) == {
        "API health": (True, "consumer, Kafka and MongoDB are well"),
        "API GPUs": (True, "2 GPUs have reported"),
        "API access": (True, "401 without the token, and processor_api_access is token"),
    }
    assert said(checks.api_checks(WELL, GPUS, {"status": 200}, "open"))["API access"][0]


@pytest.mark.parametrize(
    ("health", "gpus", "stranger", "wrong", "why"),
    [
        (DOWN, GPUS, 401, "API health", "Kafka. MongoDB."),
        (REFUSED, GPUS, 401, "API health", "refused"),
        (WELL, {"status": 503, "json": {"detail": "MongoDB is away"}}, 401, "API GPUs", "MongoDB is away"),
        (WELL, REFUSED, 401, "API GPUs", "refused"),
        (WELL, GPUS, 200, "API access", "200 without the token, and processor_api_access is token"),
    ],
)
def test_each_answer_of_the_api_can_fail(
    health: dict[str, Any], gpus: dict[str, Any], stranger: int, wrong: str, why: str
) -> None:
    records = said(checks.api_checks(health, gpus, {"status": stranger}, "token"))
    assert {name: detail for name, (passed, detail) in records.items() if not passed} == {wrong: why}


def test_a_service_must_refuse_a_stranger_with_tls_and_without() -> None:
    results = [
        {"item": {"machine": "kafka-1"}, "plaintext": "refused", "tls": "refused"},
        {"item": {"machine": "kafka-2"}, "plaintext": "refused", "tls": "answered"},
        {"item": {"machine": "mongo-1"}, "plaintext": "answered", "tls": "refused"},
        {"item": {"machine": "mongo-2"}, "msg": "cannot be asked"},
    ]
    suffix = "refuses who does not log in"
    assert said(checks.login_checks({"results": results})) == {
        f"kafka-1 {suffix}": (True, "without TLS refused, with it refused"),
        f"kafka-2 {suffix}": (False, "without TLS refused, with it answered"),
        f"mongo-1 {suffix}": (False, "without TLS answered, with it refused"),
        f"mongo-2 {suffix}": (False, "cannot be asked"),
    }


REPORT = {"run": "trace", "sent": 10, "delivered": 10, "failed": 0, "unflushed": 0, "skipped": 1}
REPORT |= {"gpu_metrics_sent": 4, "gpu_metrics_delivered": 4, "gpu_metrics_failed": 0}


def test_a_replay_has_delivered_all_of_it() -> None:
    detail = "trace: 10 of 10 requests and 4 of 4 GPU metrics delivered, 1 rows skipped"
    assert said(checks.replay_checks(REPORT)) == {"replay sent": (True, detail)}
    assert checks.replay_checks({}) == []


@pytest.mark.parametrize("lost", [{"failed": 1}, {"gpu_metrics_failed": 1}, {"unflushed": 1}, {"sent": 0}])
def test_a_replay_that_lost_something_or_sent_nothing_fails(lost: dict[str, int]) -> None:
    assert not checks.replay_checks({**REPORT, **lost})[0]["passed"]


@pytest.mark.parametrize(
    ("sent", "passed", "detail"),
    [
        ({"rc": 0}, True, "20 marked verify-1"),
        (
            {"rc": 1, "stderr_lines": [" Container producers-run Creating", "Kafka is away."]},
            False,
            "could not be sent: Kafka is away.",
        ),
        (FAILED, False, "could not be sent: it is down"),
    ],
)
def test_marked_events_that_could_not_be_sent_say_why(
    sent: dict[str, Any], passed: bool, detail: str
) -> None:
    assert said(checks.sent_checks(sent, "verify-1", 20)) == {"round trip sent": (passed, detail)}
    assert checks.sent_checks({"skipped": True}, "verify-1", 0) == []


ROUND_TRIP = {"name": "round trip", "query": {"host": "verify-1"}, "events": 20}
REPLAY = {"name": "replay", "query": {"model": "trace", "start": "s", "end": "e"}, "events": 9}
REPLAY |= {"prompt_tokens": 100, "completion_tokens": 50}
SUMS = {"_id": None, "stored": 9, "distinct": 9, "prompt_tokens": 100, "completion_tokens": 50}


def test_the_pipeline_adds_up_events_by_their_identity() -> None:
    match, by_event, sums = checks.usage_pipeline({"model": "trace", "start": "s", "end": "e"})
    assert match == {"$match": {"model": "trace", "ts": {"$gte": {"$date": "s"}, "$lt": {"$date": "e"}}}}
    assert by_event["$group"]["_id"] == {"$ifNull": ["$event_id", "$source"]}
    assert set(sums["$group"]) == {"_id", "stored", "distinct", "prompt_tokens", "completion_tokens"}
    assert checks.usage_pipeline({"host": "verify-1"})[0] == {"$match": {"host": "verify-1"}}


def stored(**wrong: int) -> dict[str, Any]:
    """What MongoDB says of the last replay."""
    return {"results": [{"item": REPLAY, "documents": [{**SUMS, **wrong}]}]}


def test_all_of_a_replay_is_stored_once() -> None:
    assert said(checks.stored_checks(stored())) == {
        "replay stored": (True, "9 of 9 events of model trace"),
        "replay stored once": (True, "0 duplicates"),
        "replay tokens": (True, "100 prompt and 50 completion tokens of 100 and 50"),
    }


@pytest.mark.parametrize(
    ("wrong", "failed"),
    [
        ({"stored": 10}, {"replay stored once"}),
        ({"stored": 8, "distinct": 8}, {"replay stored"}),
        ({"stored": 10, "distinct": 10}, {"replay stored"}),
        ({"prompt_tokens": 99}, {"replay tokens"}),
        ({"completion_tokens": 51}, {"replay tokens"}),
    ],
)
def test_what_is_lost_doubled_or_changed_is_seen(wrong: dict[str, int], failed: set[str]) -> None:
    records = said(checks.stored_checks(stored(**wrong)))
    assert {name for name, (passed, _) in records.items() if not passed} == failed


def test_marked_events_bear_no_known_tokens() -> None:
    registered = {"results": [{"item": ROUND_TRIP, "documents": []}]}
    assert said(checks.stored_checks(registered)) == {
        "round trip stored": (False, "0 of 20 events of host verify-1"),
        "round trip stored once": (True, "0 duplicates"),
    }
    assert checks.usage_sums(registered) == {
        "round trip": {"stored": 0, "distinct": 0, "prompt_tokens": 0, "completion_tokens": 0}
    }


def test_a_store_that_cannot_be_asked_passes_nothing() -> None:
    records = said(checks.stored_checks({"results": [{"item": REPLAY, **FAILED}]}))
    assert not any(passed for passed, _ in records.values())
    assert records["replay stored"][1] == "0 of 9 events of model trace; it is down"


def test_nothing_is_asked_where_nothing_is_expected() -> None:
    assert checks.stored_checks({"results": []}) == checks.told_checks({"results": []}) == []


@pytest.mark.parametrize(
    ("totals", "passed"),
    [
        ({}, True),
        ({"events": 8}, False),
        ({"prompt_tokens": 99}, False),
        ({"completion_tokens": 49}, False),
    ],
)
def test_the_api_tells_of_as_much(totals: dict[str, int], passed: bool) -> None:
    right = {"events": 9, "prompt_tokens": 100, "completion_tokens": 50}
    results = [{"item": REPLAY, "json": {"totals": {**right, **totals}}}]
    assert checks.told_checks({"results": results})[0]["passed"] is passed


def test_an_api_that_does_not_answer_tells_of_nothing() -> None:
    records = checks.told_checks({"results": [{"item": ROUND_TRIP, **FAILED}]})
    assert said(records) == {"round trip in the API": (False, "it is down")}
