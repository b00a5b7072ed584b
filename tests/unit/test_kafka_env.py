"""The broker's settings and compose file, for one machine and for three."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .role_files import load_fleet, render


def machines(count: int) -> dict[str, dict[str, Any]]:
    """Inventory variables of `count` machines."""
    return {f"kafka-{n}": {"private_ip_address": f"10.0.1.1{n}"} for n in range(1, count + 1)}


def variables(count: int, machine: str, **settings: Any) -> dict[str, Any]:
    """Variables that a play has on one machine of a group of `count`."""
    hosts = machines(count)
    return {
        "fleet": load_fleet(),
        "groups": {"kafka": list(hosts)},
        "hostvars": hosts,
        "inventory_hostname": machine,
        "_kafka_cluster_id": "abcdefghijklmnopqrstuA",
        **hosts[machine],
        **settings,
    }


def env(count: int, machine: str, **settings: Any) -> dict[str, str]:
    """Render the settings and read them as a container would."""
    text = render("kafka", "env.j2", variables(count, machine, **settings))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}


def compose(count: int, machine: str) -> dict[str, Any]:
    """Render and read the compose file's service."""
    text = render("kafka", "compose.yml.j2", variables(count, machine))
    service: dict[str, Any] = yaml.safe_load(text)["services"]["kafka"]
    return service


def test_one_broker_votes_for_itself_by_container_name() -> None:
    rendered = env(1, "kafka-1")
    assert rendered["KAFKA_CONTROLLER_QUORUM_VOTERS"] == "1@kafka:9093"
    assert rendered["KAFKA_INTER_BROKER_LISTENER_NAME"] == "INTERNAL"
    assert rendered["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "1"
    assert rendered["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "1"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_three_brokers_agree_on_voters_by_address(number: int) -> None:
    rendered = env(3, f"kafka-{number}")
    assert rendered["KAFKA_NODE_ID"] == str(number)
    voters = "1@10.0.1.11:9093,2@10.0.1.12:9093,3@10.0.1.13:9093"
    assert rendered["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
    assert rendered["KAFKA_INTER_BROKER_LISTENER_NAME"] == "EXTERNAL"
    assert rendered["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
    assert rendered["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "3"
    assert rendered["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == "3"
    assert rendered["KAFKA_MIN_INSYNC_REPLICAS"] == "2"


def test_five_brokers_keep_three_copies() -> None:
    assert env(5, "kafka-5")["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"


@pytest.mark.parametrize("count", [1, 3])
def test_other_machines_are_told_an_address_of_this_one(count: int) -> None:
    """C14: a client elsewhere gets neither the container's name nor localhost."""
    rendered = env(count, "kafka-1")
    advertised = dict(item.split("://") for item in rendered["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised == {"INTERNAL": "kafka:29092", "EXTERNAL": "10.0.1.11:9092"}


@pytest.mark.parametrize("count", [1, 3])
def test_controllers_listener_is_never_advertised(count: int) -> None:
    """C15: a broker that advertises it refuses to start."""
    rendered = env(count, "kafka-1")
    assert "CONTROLLER" not in rendered["KAFKA_ADVERTISED_LISTENERS"]
    assert "CONTROLLER://:9093" in rendered["KAFKA_LISTENERS"]
    assert rendered["KAFKA_PROCESS_ROLES"] == "broker,controller"


def test_an_advertised_address_can_be_set() -> None:
    rendered = env(1, "kafka-1", kafka_advertised_host="broker.example.org")
    assert "EXTERNAL://broker.example.org:9092" in rendered["KAFKA_ADVERTISED_LISTENERS"]


def test_logs_lie_in_the_mounted_directory() -> None:
    """C18: data survives the container."""
    log_dirs = env(1, "kafka-1")["KAFKA_LOG_DIRS"]
    assert f"/srv/kafka/data:{log_dirs}" in compose(1, "kafka-1")["volumes"]


def test_heap_is_a_share_of_the_machine() -> None:
    """C20: of the machine's 2048 MiB by default 0.4, and as much of another machine."""
    assert env(1, "kafka-1")["KAFKA_HEAP_OPTS"] == "-Xms819m -Xmx819m"
    assert env(1, "kafka-1", kafka_machine_memory_mib=8192)["KAFKA_HEAP_OPTS"] == "-Xms3276m -Xmx3276m"
    assert compose(1, "kafka-1")["mem_limit"] == "1536m"


def test_topics_are_not_made_by_accident() -> None:
    assert env(1, "kafka-1")["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_own_settings_win_and_keep_their_names() -> None:
    rendered = env(
        1, "kafka-1", kafka_settings={"num.io.threads": 4, "a_b-c.d": "x", "min.insync.replicas": 9}
    )
    assert rendered["KAFKA_NUM_IO_THREADS"] == "4"
    assert rendered["KAFKA_A__B___C_D"] == "x"
    assert rendered["KAFKA_MIN_INSYNC_REPLICAS"] == "9"


def test_only_a_cluster_publishes_the_controllers_port() -> None:
    assert compose(1, "kafka-1")["ports"] == ["9092:9092"]
    assert compose(3, "kafka-2")["ports"] == ["9092:9092", "9093:9093"]
