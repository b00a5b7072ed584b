"""The machines of fleet.yml beside those that run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.filter import machines

FLEET: dict[str, Any] = {
    "roles": {
        "kafka": {"count": 1, "ports": {"client": 9092}},
        "mongo": {"count": 1, "ports": {"mongodb": 27017}},
        "processor": {"count": 2, "ports": {"api": 8080}},
        "producers": {"count": 1},
    },
    "flows": [
        {"from": "operator", "to": "all", "port": 22},
        {"from": "operator", "to": "processor", "port": 8080},
        {"from": "processor", "to": "kafka", "port": 9092},
        {"from": "processor", "to": "mongo", "port": 27017},
        {"from": "all", "to": "processor", "port": 9100},
    ],
}
GROUPS = {
    "all": ["kafka-1", "mongo-1", "processor-1", "processor-2", "producers-1"],
    "kafka": ["kafka-1"],
    "mongo": ["mongo-1"],
    "processor": ["processor-2", "processor-1"],
    "producers": ["producers-1"],
}
HOSTVARS = {name: {"private_ip_address": f"10.0.1.{number}"} for number, name in enumerate(GROUPS["all"], 1)}


def without(*stopped: str) -> dict[str, list[str]]:
    """The inventory's groups while these machines are stopped; a group without a machine is not there."""
    left = {group: [name for name in names if name not in stopped] for group, names in GROUPS.items()}
    return {group: names for group, names in left.items() if names}


@pytest.mark.parametrize(
    "stopped",
    [[], ["processor-2"], ["processor-1"], ["producers-1"], ["kafka-1", "producers-1"], GROUPS["all"]],
)
def test_names_each_machine_that_does_not_run(stopped: list[str]) -> None:
    assert sorted(machines.missing_machines(FLEET, without(*stopped))) == sorted(stopped)
    assert machines.extra_machines(FLEET, without(*stopped)) == []


def test_one_sentence_names_the_machines_and_the_remedy() -> None:
    said = machines.absence(["processor-2", "producers-1"])
    assert said.startswith(
        "fleet.yml counts processor-2, producers-1, and no machine of that name is running: start "
    )
    assert "lower its role's count" in said
    assert machines.absence([]) == ""


def test_names_each_machine_that_is_not_counted() -> None:
    groups = {**GROUPS, "processor": ["processor-1", "processor-2", "processor-3"]}
    assert machines.extra_machines(FLEET, groups) == ["processor-3"]
    assert machines.missing_machines(FLEET, groups) == []


def test_as_many_machines_of_other_names_are_not_those_of_the_fleet() -> None:
    groups = {**GROUPS, "processor": ["processor-1", "processor-3"]}
    assert machines.missing_machines(FLEET, groups) == ["processor-2"]


def test_a_machine_knocks_at_its_own_ports_and_where_flows_lead_it() -> None:
    found = machines.knocks(FLEET, "processor-1", "processor", GROUPS, HOSTVARS)
    assert [(knock["name"], knock["host"], knock["port"], knock["detail"]) for knock in found] == [
        ("port 8080", "10.0.1.3", 8080, "api port open"),
        ("reaches kafka-1", "10.0.1.1", 9092, "port 9092 open"),
        ("reaches mongo-1", "10.0.1.2", 27017, "port 27017 open"),
        ("reaches processor-2", "10.0.1.4", 9100, "port 9100 open"),
    ]


def test_a_port_at_which_nothing_listens_now_is_left_out() -> None:
    found = machines.knocks(FLEET, "processor-1", "processor", GROUPS, HOSTVARS, ["api"])
    assert "port 8080" not in [knock["name"] for knock in found]


def test_the_only_machine_of_a_role_serves_no_other_of_it() -> None:
    kafka = {"count": 1, "ports": {"client": 9092, "controller": 9093}}
    fleet = {"roles": {"kafka": kafka}, "flows": [{"from": "kafka", "to": "kafka", "port": 9093}]}
    assert [knock["name"] for knock in machines.knocks(fleet, "kafka-1", "kafka", GROUPS, HOSTVARS)] == [
        "port 9092"
    ]
    fleet["roles"]["kafka"] = {**kafka, "count": 2}
    found = machines.knocks(fleet, "kafka-1", "kafka", GROUPS, HOSTVARS)
    assert [knock["name"] for knock in found] == ["port 9092", "port 9093"]


def test_a_host_outside_the_fleet_knocks_where_the_flows_of_its_network_lead_it() -> None:
    fleet = FLEET | {"flows": [*FLEET["flows"], {"from": "gpu_hosts", "to": "kafka", "port": 9092}]}
    groups = {**GROUPS, "producers": ["producers-1", "gpu-a"], "gpu_hosts": ["gpu-a"]}
    hostvars = {**HOSTVARS, "gpu-a": {"ansible_host": "203.0.113.7"}}
    (found,) = machines.knocks(fleet, "gpu-a", "gpu_hosts", groups, hostvars)
    assert (found["name"], found["host"]) == ("reaches kafka-1", "10.0.1.1")
    hostvars["kafka-1"] = {"private_ip_address": "10.0.1.1", "kafka_advertised_host": "kafka.example.org"}
    (found,) = machines.knocks(fleet, "gpu-a", "gpu_hosts", groups, hostvars)
    assert found["host"] == "kafka.example.org"
    assert machines.operator_knocks(fleet, "gpu_hosts") == []
    assert machines.extra_machines(fleet, groups) == machines.missing_machines(fleet, groups) == []


def test_a_machine_without_ports_and_whose_targets_are_away_knocks_nowhere() -> None:
    groups = without("processor-1", "processor-2")
    assert machines.knocks(FLEET, "producers-1", "producers", groups, HOSTVARS) == []


def test_the_operator_knocks_where_flows_let_them_in() -> None:
    assert [knock["port"] for knock in machines.operator_knocks(FLEET, "processor")] == [22, 8080]
    assert [knock["port"] for knock in machines.operator_knocks(FLEET, "kafka")] == [22]


def test_each_service_with_users_is_asked_without_one() -> None:
    assert machines.logins(FLEET, GROUPS, HOSTVARS) == [
        {"machine": "kafka-1", "service": "kafka", "host": "10.0.1.1", "port": 9092},
        {"machine": "mongo-1", "service": "mongodb", "host": "10.0.1.2", "port": 27017},
    ]
    assert machines.logins(FLEET, without("kafka-1", "mongo-1"), HOSTVARS) == []
