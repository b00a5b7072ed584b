"""What a run of verify.yml comes to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.filter import verification as module

GROUPS = {role: [f"{role}-1"] for role in ("kafka", "mongo", "processor", "producers")}
MACHINES = [name for names in GROUPS.values() for name in names]
REPORT = {
    "model": "trace",
    "sent": 9,
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "started_at": "2026-02-01T00:00:00.5Z",
    "first_ts": "2026-01-31T23:59:58.250000Z",
    "last_ts": "2026-01-31T23:59:59.750000Z",
}
SENDER = {
    "marker": "verify-1",
    "marked_events": 20,
    "marked_at": "2026-03-01T00:00:00Z",
    "sent": True,
    "report": {},
}
COSTS = {"rows": [], "idle": {}, "total": {"cost_usd": 1.5}}
PROCESSOR = {"working": True, "consumer_group": "group", "costs": COSTS, "recent_costs": {}}
SUMS = {"stored": 9, "distinct": 9, "prompt_tokens": 100, "completion_tokens": 50}


def facts(**changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each machine's facts after a run in which all passed; `changed` goes to the machine of that role."""
    told: dict[str, dict[str, Any]] = {
        "kafka": {"dead_letters": 0},
        "mongo": {"sums": {"replay": SUMS}},
        "processor": PROCESSOR,
        "producers": {**SENDER, "report": REPORT},
    }
    return {
        f"{role}-1": {
            "ansible_host": "10.0.1.1",
            "verify_ping": {"ping": "pong"},
            "verify_checks": [{"name": "health", "passed": True, "detail": "well"}],
            f"{role}_verified": {**returned, **changed.get(role, {})},
        }
        for role, returned in told.items()
    }


def verify(
    hostvars: dict[str, dict[str, Any]],
    groups: dict[str, list[str]] = GROUPS,
    missing: tuple[str, ...] = (),
    demanded: tuple[int, ...] = (),
) -> dict[str, Any]:
    return module.verification(hostvars, groups, [*hostvars], missing, demanded)


def failed(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result["passed"] is not any(not check["passed"] for check in result["checks"])
    return [(check["host"], check["name"]) for check in result["checks"] if not check["passed"]]


def test_a_replay_lies_in_whole_seconds() -> None:
    assert module.event_seconds(REPORT) == {"start": "2026-01-31T23:59:58Z", "end": "2026-02-01T00:00:00Z"}


def test_what_is_expected_is_the_round_trip_and_the_newest_replay() -> None:
    groups = {**GROUPS, "producers": ["producers-1", "producers-2"]}
    older = {**REPORT, "model": "older", "started_at": "2026-01-01T00:00:00Z"}
    hostvars = facts() | {
        "producers-2": {"producers_verified": {**SENDER, "marked_events": 0, "report": older}}
    }
    told = module.told_so_far(hostvars, groups)
    assert told["expected"] == [
        {"name": "round trip", "query": {"host": "verify-1"}, "events": 20},
        {
            "name": "replay",
            "query": {"model": "trace", "start": "2026-01-31T23:59:58Z", "end": "2026-02-01T00:00:00Z"},
            "events": 9,
            "prompt_tokens": 100,
            "completion_tokens": 50,
        },
    ]
    assert told["since"] == REPORT["started_at"]
    assert told["consumer_group"] == "group"
    assert told["wait_seconds"] == 60


def test_without_a_replay_letters_count_from_the_round_trip_on() -> None:
    told = module.told_so_far(facts(producers={"report": {}}), GROUPS)
    assert [expected["name"] for expected in told["expected"]] == ["round trip"]
    assert told["since"] == SENDER["marked_at"]


def test_a_replay_that_sent_nothing_is_not_asked_about() -> None:
    told = module.told_so_far(
        facts(producers={"report": {**REPORT, "first_ts": None, "last_ts": None}}), GROUPS
    )
    assert [expected["name"] for expected in told["expected"]] == ["round trip"]


@pytest.mark.parametrize(
    ("changed", "waits"),
    [
        ({}, True),
        ({"producers": {"sent": False}}, False),
        ({"processor": {"working": False}}, False),
    ],
)
def test_waits_for_what_was_sent_and_can_be_stored(changed: dict[str, Any], waits: bool) -> None:
    assert (module.told_so_far(facts(**changed), GROUPS)["wait_seconds"] > 0) is waits


def test_one_processor_that_works_is_enough() -> None:
    groups = {**GROUPS, "processor": ["processor-1", "processor-2"]}
    hostvars = facts(processor={"working": False}) | {"processor-2": {"processor_verified": PROCESSOR}}
    assert module.told_so_far(hostvars, groups)["wait_seconds"] > 0


@pytest.mark.parametrize("role", ["kafka", "mongo", "processor"])
def test_machines_on_their_own_are_asked_about_nothing_that_others_sent(role: str) -> None:
    """As in a run that is limited to one of them: the others have no facts."""
    hostvars = {machine: {} for machine in MACHINES} | {f"{role}-1": facts()[f"{role}-1"]}
    told = module.told_so_far(hostvars, GROUPS)
    assert (told["expected"], told["consumer_group"], told["since"]) == ([], "", "")
    result = module.verification(hostvars, GROUPS, [f"{role}-1"], [], [])
    assert result["passed"]
    assert {check["host"] for check in result["checks"]} == {f"{role}-1"}


def test_all_passed() -> None:
    result = verify(facts(), demanded=(9, 100, 50))
    assert failed(result) == []
    assert list(result) == ["passed", "checks", "totals", "costs", "recent_costs"]
    assert result["costs"] == COSTS
    assert [(check["host"], check["name"]) for check in result["checks"]] == [
        ("kafka-1", "machine answers"),
        ("kafka-1", "health"),
        ("mongo-1", "machine answers"),
        ("mongo-1", "health"),
        ("mongo-1", "demanded totals"),
        ("processor-1", "machine answers"),
        ("processor-1", "health"),
        ("producers-1", "machine answers"),
        ("producers-1", "health"),
    ]
    assert result["totals"] == {
        "sent": 9,
        "stored": 9,
        "dead_lettered": 0,
        "duplicates": 0,
        "context_tokens": 100,
        "generated_tokens": 50,
    }


def test_costs_are_those_of_a_processor_that_was_told_some() -> None:
    groups = {**GROUPS, "processor": ["processor-1", "processor-2"]}
    hostvars = facts(processor={"costs": {}, "recent_costs": {}}) | {"processor-2": facts()["processor-1"]}
    assert module.verification(hostvars, groups, [], [], [])["costs"] == COSTS
    assert verify(facts(processor={"costs": {}, "recent_costs": {}}))["costs"] == {}


@pytest.mark.parametrize(
    ("sums", "duplicates"),
    [
        ({"stored": 12}, 3),  # copies
        ({"stored": 11, "distinct": 11}, 2),  # events that nobody sent
        ({"stored": 7, "distinct": 7}, 0),
    ],
)
def test_duplicates_are_copies_and_events_that_nobody_sent(sums: dict[str, int], duplicates: int) -> None:
    totals = verify(facts(mongo={"sums": {"replay": {**SUMS, **sums}}}))["totals"]
    assert totals["duplicates"] == duplicates


def test_without_a_replay_the_totals_are_those_of_the_round_trip() -> None:
    sums = {"round trip": {"stored": 20, "distinct": 20, "prompt_tokens": 5, "completion_tokens": 6}}
    result = verify(facts(producers={"report": {}}, mongo={"sums": sums}))
    assert [*result["totals"].values()] == [20, 20, 0, 0, 5, 6]


def test_a_check_that_failed_fails_the_run() -> None:
    hostvars = facts()
    hostvars["mongo-1"]["verify_checks"].append({"name": "indexes", "passed": False, "detail": "none"})
    assert failed(verify(hostvars)) == [("mongo-1", "indexes")]


def test_a_machine_that_does_not_answer_is_a_failed_check() -> None:
    hostvars = facts()
    hostvars["kafka-1"] = {"verify_ping": {"unreachable": True, "msg": "no route"}}
    result = verify(hostvars)
    assert failed(result) == [("kafka-1", "machine answers")]
    assert result["checks"][0]["detail"] == "no route"


def test_a_machine_whose_checks_broke_off_is_a_failed_check() -> None:
    hostvars = facts()
    del hostvars["kafka-1"]["verify_checks"]
    assert failed(verify(hostvars)) == [("kafka-1", "verify")]
    assert failed(verify(facts() | {"kafka-1": {}})) == [("kafka-1", "machine answers")]


def test_a_machine_of_the_fleet_that_does_not_run_is_a_failed_check() -> None:
    hostvars = facts()
    del hostvars["producers-1"]
    groups = {role: names for role, names in GROUPS.items() if role != "producers"}
    result = verify(hostvars, groups, missing=("producers-1",))
    assert failed(result) == [("producers-1", "machine answers")]
    assert result["checks"][-1]["detail"].startswith("fleet.yml counts producers-1, and ")


def test_a_fleet_of_which_nothing_runs_fails() -> None:
    assert failed(module.verification({}, {}, [], MACHINES, [])) == [
        (name, "machine answers") for name in sorted(MACHINES)
    ]


@pytest.mark.parametrize("demanded", [(8, 100, 50), (9, 101, 50), (9, 100, 49)])
def test_demanded_totals_must_be_met(demanded: tuple[int, ...]) -> None:
    assert failed(verify(facts(), demanded=demanded)) == [("mongo-1", "demanded totals")]


def test_a_round_trip_is_not_the_replay_that_is_demanded() -> None:
    hostvars = facts(producers={"report": {}}, mongo={"sums": {"round trip": SUMS}})
    assert failed(verify(hostvars, demanded=(9, 100, 50))) == [("mongo-1", "demanded totals")]
