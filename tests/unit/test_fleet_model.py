"""fleet.yml: the file of this repository is right, and every kind of error is one sentence."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fleet.cli import app
from fleet.model import FleetError, load, parse

FLEET_YML = Path(__file__).parents[2] / "fleet.yml"
VALID: dict[str, Any] = yaml.safe_load(FLEET_YML.read_text())


def errors_of(data: Any) -> list[str]:
    """The sentences for wrong data."""
    with pytest.raises(FleetError) as caught:
        parse(data)
    return caught.value.errors


def sentences(data: Any) -> list[str]:
    """The sentences for data that may be right."""
    try:
        parse(data)
    except FleetError as error:
        return error.errors
    return []


def changed(path: str, value: Any) -> dict[str, Any]:
    """The valid fleet with one value set; list entries are given by number from 0."""
    data = copy.deepcopy(VALID)
    *parents, last = path.split("/")
    place: Any = data
    for key in parents:
        place = place[int(key) if key.isdecimal() else key]
    if isinstance(place, list):
        place.insert(int(last), value)
    else:
        place[last] = value
    return data


def test_this_repositorys_fleet_is_valid() -> None:
    fleet = load(FLEET_YML)
    assert fleet.machines() == {
        "kafka-1": "kafka",
        "mongo-1": "mongo",
        "processor-1": "processor",
        "producers-1": "producers",
    }


def test_adding_a_machine_is_one_changed_number() -> None:
    assert "kafka-3" in parse(changed("roles/kafka/count", 3)).machines()


def test_flows_between_brokers_open_something_once_there_are_several() -> None:
    for count in (1, 3):
        fleet = parse(changed("roles/kafka/count", count))
        own = [flow for flow in fleet.flows if flow.source == flow.target == "kafka"]
        assert [fleet.connects(flow) for flow in own] == [count > 1] * 2
    without = [flow for flow in VALID["flows"] if flow != {"from": "kafka", "to": "kafka", "port": 9093}]
    assert errors_of(changed("roles/kafka/count", 3) | {"flows": without}) == [
        "roles.kafka.count is 3, and no flow lets its machines reach each other's port 9093: "
        "add {from: kafka, to: kafka, port: 9093} to flows."
    ]
    ports = {"client": 9092, "internal": 29092}
    fleet = changed("roles/kafka", {**VALID["roles"]["kafka"], "count": 3, "ports": ports})
    assert errors_of(fleet | {"flows": without}) == [
        "roles.kafka.count is 3, and roles.kafka.ports has no port controller, by which its machines reach "
        "each other: add it, and a flow from kafka to kafka."
    ]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "roles/kafka/cuont",
            2,
            "roles.kafka.cuont is an unknown key: remove it, or use one of count, instance_type, "
            "memory_mib, root_disk_gib, data_disk_gib, ports, addresses.",
        ),
        (
            "colour",
            "red",
            "colour is an unknown key: remove it, or use one of "
            "project, network, roles, outside, flows, topics, dead_letters, retention, "
            "load_events_per_second, images.",
        ),
        (
            "retention/raw_days",
            3,
            "retention.raw_days is 3: give a whole number of at least 4.",
        ),
        (
            "retention/rollup_years",
            0,
            "retention.rollup_years is 0: give a whole number of at least 1.",
        ),
        (
            "load_events_per_second/token_usage",
            "many",
            'load_events_per_second.token_usage is "many": give a number.',
        ),
        (
            "load_events_per_second/token_usage",
            -1,
            "load_events_per_second.token_usage is -1: give a number of at least 0.",
        ),
        (
            "load_events_per_second",
            {"gpu_metrics": 20, "token_usage": 0.5},
            "retention: at 20 a second of gpu_metrics and 0.5 of token_usage, 90 days of events and 3 years "
            "of roll-ups take 106.3 GiB, and 80 % of mongo's 20 GiB are 16.0: give roles.mongo a "
            "data_disk_gib of 133, or lower retention.raw_days, retention.rollup_years or "
            "load_events_per_second.",
        ),
        (
            "topics/token_usage/retention_hours",
            10_000,
            "topics.token_usage: at 1 a second, 10000 hours of events take 20.12 GiB, and its 3 of 8 "
            "partitions may take 5.25 GiB of kafka's 20 (70 % are for all topics): give roles.kafka a "
            "data_disk_gib of 77, "
            "set topics.token_usage.retention_hours to 2609 or less, give other topics fewer partitions, "
            "or lower load_events_per_second.token_usage.",
        ),
        (
            "roles/kafka",
            {**VALID["roles"]["kafka"], "data_disk_gib": None, "root_disk_gib": 8},
            "roles.kafka has no data_disk_gib, and the system takes all 8 GiB of its root disk: "
            "give it a data_disk_gib, or a root_disk_gib above 8.",
        ),
        ("roles/kafka/count", 0, "roles.kafka.count is 0: give a whole number of at least 1."),
        ("roles/mongo/count", 3, "roles.mongo.count is 3: give 1, which the role can set up."),
        (
            "topics/token_usage/name",
            "..",
            "topics: Kafka takes no topic named ..: rename it.",
        ),
        ("roles/kafka/count", "two", 'roles.kafka.count is "two": give a whole number.'),
        ("roles/kafka/count", True, "roles.kafka.count is True: give a whole number."),
        (
            "roles/kafka/memory_mib",
            512,
            "roles.kafka.memory_mib is 512, too small for what runs there: give at least 1024.",
        ),
        (
            "roles/processor/memory_mib",
            256,
            "roles.processor.memory_mib is 256, too small for what runs there: give at least 512.",
        ),
        (
            "roles/mongo/memory_mib",
            4096,
            "roles.mongo.memory_mib is 4096, but a t3.small has 2048: give at most 2048, "
            "or choose a larger instance_type.",
        ),
        (
            "roles/kafka/instance_type",
            "t3.nano",
            "roles.kafka.instance_type is t3.nano with 512 MiB of memory, too small for what runs there: "
            "choose one with at least 1024.",
        ),
        (
            "roles/kafka/instance_type",
            "m9.huge",
            "roles.kafka.instance_type is m9.huge, whose memory is not known here: "
            "give roles.kafka.memory_mib as well.",
        ),
        (
            "roles/Kafka2",
            VALID["roles"]["kafka"],
            'roles.Kafka2 is "Kafka2": write role names in small letters only (a-z).',
        ),
        (
            "roles/operator",
            VALID["roles"]["producers"],
            'roles.operator: the name "operator" has a meaning of its own in flows: choose another.',
        ),
        (
            "roles/mongo/ports",
            {"mongodb": 27017, "admin": 27017},
            "roles.mongo.ports: mongodb and admin are both 27017: give each a port of its own.",
        ),
        (
            "roles/processor/ports",
            {"api": 8080, "shell": 22},
            "roles.processor.ports.shell is 22, which is SSH's: choose another port.",
        ),
        (
            "roles/processor/ports/web",
            70000,
            "roles.processor.ports.web is 70000: give a whole number of at most 65535.",
        ),
        (
            "roles/kafka/instance_type",
            "small",
            'roles.kafka.instance_type is "small": write it as AWS does, for example t3.small.',
        ),
        (
            "roles/kafka/addresses",
            ["10.0.1.20", "10.0.1.21"],
            "roles.kafka.addresses has 2 entries for 1 machine: give one for each, or leave addresses out.",
        ),
        (
            "roles/kafka/addresses",
            ["10.0.1.3"],
            "roles.kafka.addresses: 10.0.1.3 of kafka-1 cannot be used in 10.0.1.0/24: "
            "choose from 10.0.1.4 to 10.0.1.254.",
        ),
        (
            "roles/kafka/addresses",
            ["10.0.1.999"],
            'roles.kafka.addresses, entry 1 is "10.0.1.999", which is no IPv4 address: '
            "write one like 10.0.1.20.",
        ),
        (
            "network/subnet_cidr",
            "10.0.1.0/240",
            'network.subnet_cidr is "10.0.1.0/240", which is no IPv4 network: '
            "write the network's own address and a prefix, for example 10.0.1.0/24.",
        ),
        (
            "network/subnet_cidr",
            "10.0.1.7/24",
            'network.subnet_cidr is "10.0.1.7/24", which is no IPv4 network: '
            "write the network's own address and a prefix, for example 10.0.1.0/24.",
        ),
        (
            "network/subnet_cidr",
            "192.168.0.0/24",
            "network.subnet_cidr 192.168.0.0/24 is not inside network.vpc_cidr 10.0.0.0/16: "
            "choose a subnet of that network.",
        ),
        (
            "network/subnet_cidr",
            "10.0.1.0/30",
            "network.subnet_cidr 10.0.1.0/30 has a prefix of /30, which AWS refuses: "
            "use one from /16 to /28.",
        ),
        (
            "flows/0",
            {"from": "grafana", "to": "kafka", "port": 9092},
            'flows, entry 1: from "grafana" is no role and no network of outside: '
            "use one of kafka, mongo, processor, producers, operator, all, gpu_hosts, gateways, or add it.",
        ),
        (
            "outside/Office",
            [],
            'outside.Office is "Office": write names of networks in small letters, digits and underscores.',
        ),
        (
            "outside/operator",
            [],
            'outside.operator: the name "operator" means another thing in flows: choose another.',
        ),
        (
            "outside/mongo",
            [],
            'outside.mongo: the name "mongo" means another thing in flows: choose another.',
        ),
        (
            "outside/gpu_hosts",
            ["0.0.0.0/0"],
            "outside.gpu_hosts has 0.0.0.0/0, which is a large part of the internet: "
            "use a prefix of /8 or more, best /32.",
        ),
        (
            "outside/gpu_hosts",
            ["10.0.0.0/16"],
            "outside.gpu_hosts has 10.0.0.0/16, which overlaps network.subnet_cidr 10.0.1.0/24, "
            "where the machines of the fleet stand: give networks outside of it.",
        ),
        (
            "outside/gpu_hosts",
            ["gpu-a"],
            'outside.gpu_hosts, entry 1 is "gpu-a", which is no IPv4 network: '
            "write the network's own address and a prefix, for example 10.0.1.0/24.",
        ),
        ("outside/gpu_hosts", "203.0.113.0/24", 'outside.gpu_hosts is "203.0.113.0/24": give a list.'),
        (
            "flows/0",
            {"from": "operator", "to": "gpu_hosts", "port": 22},
            'flows, entry 1: to "gpu_hosts" is no role: '
            "use one of kafka, mongo, processor, producers, all, or add the role.",
        ),
        (
            "flows/0",
            {"from": "operator", "to": "grafana", "port": 22},
            'flows, entry 1: to "grafana" is no role: '
            "use one of kafka, mongo, processor, producers, all, or add the role.",
        ),
        (
            "flows/0",
            {"from": "processor", "to": "kafka", "port": 9094},
            "flows, entry 1: kafka does not expose port 9094 (it has 22, 9092, 9093, 29092): "
            "add it to roles.kafka.ports or change the flow.",
        ),
        (
            "flows/0",
            {"from": "producers", "to": "kafka", "port": 9092},
            "flows: from producers to kafka on 9092 stands there twice: remove one.",
        ),
        (
            "flows/0",
            {"from": "producers", "to": "kafka"},
            "flows, entry 1, port is missing: add it.",
        ),
        (
            "topics/gpu_metrics/name",
            "token.usage.v1",
            "topics: two topics, dead letters included, have the name token.usage.v1: rename one.",
        ),
        (
            "topics/gpu_metrics/name",
            "token.usage.v1.dlq",
            "topics: two topics, dead letters included, have the name token.usage.v1.dlq: rename one.",
        ),
        (
            "topics/gpu_metrics/name",
            "token_usage.v1",
            "topics: token_usage.v1 and token.usage.v1 differ only in dots and underscores, "
            "which Kafka cannot tell apart: rename one.",
        ),
        (
            "topics/gpu_metrics/name",
            "gpu metrics",
            'topics.gpu_metrics.name is "gpu metrics": '
            "use letters, digits, dots, underscores and hyphens, at most 245.",
        ),
        (
            "topics/archive",
            {"name": "archive.v1", "partitions": 1, "retention_hours": 1},
            "topics.archive is an unknown key: remove it, or use one of gpu_metrics, token_usage.",
        ),
        (
            "topics/gpu_metrics/replicas",
            1,
            "topics.gpu_metrics.replicas is an unknown key: "
            "remove it, or use one of name, partitions, retention_hours.",
        ),
        (
            "dead_letters/name",
            "dlq",
            "dead_letters.name is an unknown key: remove it, or use one of partitions, retention_hours.",
        ),
        (
            "images/kafka",
            "apache/kafka",
            'images.kafka is "apache/kafka": write it as repository:tag, for example mongo:7.0, '
            "with or without @sha256: and 64 digits.",
        ),
        (
            "project",
            "GPU Token",
            'project is "GPU Token": use at most 30 small letters, digits and hyphens, a letter first.',
        ),
        ("roles", {}, "roles is empty: give at least one."),
        ("roles/kafka", None, "roles.kafka is empty: give keys and values."),
        ("flows", "none", 'flows is "none": give a list.'),
        ("topics", "none", 'topics is "none": give keys and values.'),
    ],
)
def test_an_error_is_one_sentence_with_place_value_and_remedy(path: str, value: Any, sentence: str) -> None:
    assert errors_of(changed(path, value)) == [sentence]


def test_no_remedy_would_be_refused_itself() -> None:
    """At this load not even an hour can be kept."""
    sentences = errors_of(changed("load_events_per_second/token_usage", 1_000_000))
    assert [sentence.split(":")[0] for sentence in sentences] == ["topics.token_usage", "retention"]
    assert "retention_hours to" not in sentences[0]


DIGEST = f"sha256:{64 * '0'}"


@pytest.mark.parametrize(
    ("reference", "right"),
    [
        (f"mongo:7.0@{DIGEST}", True),
        (f"mongo@{DIGEST}", True),
        (f"10.0.1.1:5000/library/mongo:7.0@{DIGEST}", True),
        ("mongo:7.0@sha256:12", False),
        (f"mongo:7.0@{DIGEST}0", False),
        (f"mongo:7.0{DIGEST}", False),
        (f"mongo@{DIGEST}:7.0", False),
    ],
)
def test_an_image_may_be_pinned_by_its_digest(reference: str, right: bool) -> None:
    assert (sentences(changed("images/mongo", reference)) == []) is right


def test_memory_is_the_instance_types_unless_given() -> None:
    fleet = parse(changed("roles/kafka/memory_mib", 1536))
    assert {name: role.memory_mib for name, role in fleet.roles.items()} == {
        "kafka": 1536,
        "mongo": 2048,
        "processor": 1024,
        "producers": 1024,
    }
    data = changed("roles/kafka/instance_type", "m9.huge")
    data["roles"]["kafka"]["memory_mib"] = 1536
    assert parse(data).roles["kafka"].memory_mib == 1536


def test_roll_ups_are_kept_for_at_least_as_long_as_events() -> None:
    data = changed("load_events_per_second", {"gpu_metrics": 0, "token_usage": 0})
    data["retention"] = {"raw_days": 400, "rollup_years": 1}
    assert errors_of(data) == [
        "retention.rollup_years is 1, which is 366 days, and raw_days is 400: "
        "keep roll-ups for at least as long as events, with rollup_years 2 or more."
    ]
    data["retention"]["rollup_years"] = 2
    assert sentences(data) == []


def test_a_disk_of_the_size_that_is_named_is_enough() -> None:
    data = changed("load_events_per_second", {"gpu_metrics": 200, "token_usage": 3})
    data["topics"]["gpu_metrics"]["retention_hours"] = 2_000
    told = errors_of(data)
    assert len(told) == 2
    for sentence in told:
        role, gib = re.findall(r"give roles\.(\w+) a data_disk_gib of (\d+)", sentence)[0]
        data["roles"][role]["data_disk_gib"] = int(gib)
    assert sentences(data) == []
    for role in ("kafka", "mongo"):
        data["roles"][role]["data_disk_gib"] -= 2
    assert len(errors_of(data)) == 2


def test_two_machines_with_one_address() -> None:
    data = changed("roles/kafka/addresses", ["10.0.1.20"])
    data["roles"]["mongo"]["addresses"] = ["10.0.1.20"]
    assert errors_of(data) == ["kafka-1 and mongo-1 both have the address 10.0.1.20: change one of them."]


def test_more_machines_than_addresses() -> None:
    data = changed("network/subnet_cidr", "10.0.1.0/28")
    data["roles"]["producers"]["count"] = 20
    assert errors_of(data) == [
        "network.subnet_cidr 10.0.1.0/28 has room for 11 machines, but the roles ask for 23: "
        "widen the subnet or lower a count."
    ]


def test_a_fleet_needs_no_network_outside() -> None:
    data = {key: value for key, value in VALID.items() if key != "outside"}
    data["flows"] = [flow for flow in VALID["flows"] if flow["from"] not in VALID["outside"]]
    assert parse(data).outside == {}


def test_every_error_is_told_at_once() -> None:
    data = changed("roles/kafka/count", 0)
    data["colour"] = "red"
    assert len(errors_of(data)) == 2


@pytest.mark.parametrize("data", [None, [], "fleet", 3])
def test_a_file_without_keys(data: Any) -> None:
    assert len(errors_of(data)) == 1


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("project: a\nproject: b\n")
    with pytest.raises(FleetError, match=r"project stands twice in one place \(line 2\): remove one."):
        load(path)


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("project: [a\n")
    with pytest.raises(FleetError, match="line 2 is not YAML"):
        load(path)


KEYS = ("project", "network", "roles", "outside", "flows", "topics", "dead_letters", "images")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(KEYS), value=JSON)
def test_whatever_stands_there_is_a_fleet_or_sentences(key: str, value: Any) -> None:
    assert all(
        sentence.endswith(".") and sentence.isprintable() for sentence in sentences(VALID | {key: value})
    )


@given(role=st.sampled_from(sorted(VALID["roles"])), key=st.text(min_size=1), value=JSON)
def test_whatever_a_role_holds_is_a_fleet_or_sentences(role: str, key: str, value: Any) -> None:
    data = changed(f"roles/{role}", VALID["roles"][role] | {key: value})
    assert all(sentence.endswith(".") and sentence.isprintable() for sentence in sentences(data))


@given(
    text=st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet="{}[]&*!?:-,'\"#|>%@ \nab1.~\t")
)
def test_whatever_the_file_holds_is_a_fleet_or_sentences(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fleet.yml"
    path.write_text(text)
    with pytest.raises(FleetError):
        load(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_bytes(b"project: \xff\n")
    with pytest.raises(FleetError, match="byte 9 is not UTF-8"):
        load(path)


def test_check_prints_a_line_for_each_error(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text(yaml.safe_dump(changed("roles/kafka/count", 0) | {"colour": "red"}))
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 2


def test_check_of_a_right_file() -> None:
    result = CliRunner().invoke(app, ["check", str(FLEET_YML)])
    assert (result.exit_code, result.output) == (0, f"{FLEET_YML}: 4 machines, 9 flows, 4 topics.\n")


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(tmp_path / "none.yml")])
    assert result.exit_code == 1
    assert "cannot be read (No such file or directory)" in result.output


@pytest.mark.parametrize(("role", "port"), [("kafka", "client"), ("mongo", "mongodb"), ("processor", "api")])
def test_a_service_is_found_by_the_name_of_its_port(role: str, port: str) -> None:
    ports = VALID["roles"][role]["ports"]
    data = changed(f"roles/{role}/ports", {"other" if name == port else name: ports[name] for name in ports})
    assert errors_of(data) == [
        f"roles.{role}.ports has no port {port}, by which the others find it: give it that name."
    ]
