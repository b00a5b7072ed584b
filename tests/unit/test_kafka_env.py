"""The broker's settings and compose file, for one machine and for three."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .role_files import ROLES, fleet_variables, render_service, role_variables
from .test_kafka_data_info import GOOD

SECRETS = {
    f"kafka_{user}_password": f"{user}-{'x' * 24}" for user in ("broker", "admin", "processor", "producers")
}


def machines(count: int) -> dict[str, dict[str, Any]]:
    """Inventory variables of `count` machines."""
    return {f"kafka-{n}": {"private_ip_address": f"10.0.1.1{n}"} for n in range(1, count + 1)}


def variables(count: int, machine: str, **settings: Any) -> dict[str, Any]:
    """Variables that a play has on one machine of a group of `count`."""
    hosts = machines(count)
    return {
        **fleet_variables(),
        "groups": {"kafka": list(hosts)},
        "hostvars": hosts,
        "kafka_machines": list(hosts),
        "inventory_hostname": machine,
        "_kafka_data": GOOD,
        "_kafka_cluster_id": "abcdefghijklmnopqrstuA",
        "fleet_secrets": SECRETS,
        "certificate_sha256": "of the certificate",
        **hosts[machine],
        **settings,
    }


def env(count: int, machine: str, **settings: Any) -> dict[str, str]:
    """Render the settings and read them as a container would."""
    text = render_service("env.j2", "kafka", variables(count, machine, **settings), service_env="_kafka_env")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}


def compose(count: int, machine: str, **settings: Any) -> dict[str, Any]:
    """Render and read the compose file's service."""
    text = render_service(
        "compose.yml.j2",
        "kafka",
        variables(count, machine, **settings),
        service_container="_kafka_container",
        service_uid="kafka_uid",
        service_env="_kafka_env",
        service_secrets="{'admin.properties': _kafka_admin_file}",
        service_data_mount="_kafka_data_mount",
        service_disk_reserve_mib="kafka_disk_reserve_mib",
    )
    service: dict[str, Any] = yaml.safe_load(text)["services"]["kafka"]
    return service


def properties(which: str, count: int) -> dict[str, str]:
    """Render one of the files that hold passwords."""
    known = {**role_variables("kafka"), **variables(count, "kafka-1")}
    lines = str(Templar(DataLoader(), variables=known).template(known[f"_kafka_{which}_file"])).splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def refusals(**settings: Any) -> list[str]:
    """What preflight says of one machine's settings."""
    known = {**role_variables("kafka"), **variables(1, "kafka-1", **settings)}
    rules = Templar(DataLoader(), variables=known).template(trust_as_template("{{ _kafka_setting_rules }}"))
    return [rule["otherwise"] for rule in rules if not rule["holds"]]


def test_one_broker_votes_for_itself_inside_its_container() -> None:
    rendered = env(1, "kafka-1")
    assert rendered["KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS"] == "localhost:9093"
    assert rendered["KAFKA_INTER_BROKER_LISTENER_NAME"] == "INTERNAL"
    assert rendered["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "1"
    assert rendered["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "1"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_three_brokers_find_the_controllers_by_address(number: int) -> None:
    rendered = env(3, f"kafka-{number}")
    assert rendered["KAFKA_NODE_ID"] == str(number)
    controllers = "10.0.1.11:9093,10.0.1.12:9093,10.0.1.13:9093"
    assert rendered["KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS"] == controllers
    assert rendered["KAFKA_INTER_BROKER_LISTENER_NAME"] == "INTERNAL"
    assert rendered["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
    assert rendered["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "3"
    assert rendered["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == "3"


def test_five_brokers_keep_three_copies_and_three_vote() -> None:
    rendered = env(5, "kafka-5")
    assert rendered["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
    assert rendered["KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS"].count(":9093") == 3
    assert rendered["KAFKA_PROCESS_ROLES"] == "broker,controller"


@pytest.mark.parametrize(
    ("count", "fixed", "voters"),
    [
        (1, [1], "1@localhost:9093"),
        (3, [1, 2, 3], "1@10.0.1.11:9093,2@10.0.1.12:9093,3@10.0.1.13:9093"),
        (3, [1], None),
        (1, [1, 2, 3], None),
    ],
)
def test_voters_that_cannot_change_stay_until_the_machines_are_others(
    count: int, fixed: list[int], voters: str | None
) -> None:
    rendered = env(count, "kafka-1", _kafka_data={**GOOD, "voters": fixed})
    assert rendered.get("KAFKA_CONTROLLER_QUORUM_VOTERS") == voters
    assert ("KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS" in rendered) == (voters is None)


def test_copies_stand_in_different_zones() -> None:
    assert env(3, "kafka-1", kafka_rack="eu-west-1b")["KAFKA_BROKER_RACK"] == "eu-west-1b"
    assert "KAFKA_BROKER_RACK" not in env(3, "kafka-1")
    assert "KAFKA_BROKER_RACK" not in env(1, "kafka-1", kafka_rack="eu-west-1b")


# Data of a broker that has been part of a cluster, of one that was formatted and never was, and of none.
OLD = {**GOOD, "node_id": "1", "cluster_id": "abc", "has_metadata": True}
FORMATTED = {**GOOD, "node_id": "1", "cluster_id": "abc"}


def planned(name: str, held: dict[str, dict[str, Any]], machine: str = "kafka-1") -> Any:
    """What the role decides on a machine, where the machines hold so much."""
    known = {**role_variables("kafka"), **variables(len(held), machine)}
    for other, data in held.items():
        known["hostvars"][other]["_kafka_data"] = data
    known["_kafka_data"] = held[machine]
    others = [data for other, data in held.items() if other != machine]
    known["_kafka_others"] = {"results": others if not held[machine]["cluster_id"] else [{"skipped": True}]}
    return Templar(DataLoader(), variables=known).template(trust_as_template("{{ " + name + " }}"))


def three(*held: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"kafka-{number}": data for number, data in enumerate(held, 1)}


@pytest.mark.parametrize(
    ("held", "begins"),
    [
        (three(GOOD), True),
        (three(GOOD, GOOD, GOOD), True),
        (three(GOOD, FORMATTED, GOOD), True),
        (three(GOOD, OLD, OLD), False),
    ],
)
def test_a_cluster_begins_once(held: dict[str, dict[str, Any]], begins: bool) -> None:
    """A first machine on a new disk must not begin another cluster beside that of the others."""
    assert planned("_kafka_begins", held) is begins
    assert ("--standalone" in planned("_kafka_format", held)) is begins
    if len(held) > 1:
        assert planned("_kafka_begins", {**held, "kafka-2": GOOD}, "kafka-2") is False


@pytest.mark.parametrize(
    ("held", "turns"),
    [
        (three(GOOD), [["kafka-1"]]),
        (three(OLD), [["kafka-1"]]),
        (three(GOOD, GOOD, GOOD), [["kafka-1"], ["kafka-2", "kafka-3"]]),
        (three(OLD, OLD, OLD), [["kafka-1"], ["kafka-2"], ["kafka-3"]]),
        (three(OLD, GOOD, GOOD), [["kafka-1"], ["kafka-2", "kafka-3"]]),
        (three(GOOD, OLD, OLD), [["kafka-2"], ["kafka-3"], ["kafka-1"]]),
    ],
)
def test_what_runs_is_restarted_one_by_one_and_new_machines_come_together(
    held: dict[str, dict[str, Any]], turns: list[list[str]]
) -> None:
    assert planned("_kafka_turns", held) == turns


@pytest.mark.parametrize(("running", "turns"), [("", 3), ("wanted", 3), ("another", 1)])
def test_a_new_password_of_the_brokers_is_given_to_all_at_once(running: str, turns: int) -> None:
    """Brokers of different passwords would never be in sync."""
    known = {**role_variables("kafka"), **variables(3, "kafka-1", _kafka_data=OLD)}
    wanted = Templar(DataLoader(), variables=known).template(trust_as_template("{{ _kafka_login_sha256 }}"))
    for machine in known["hostvars"].values():
        machine["_kafka_data"] = OLD
    said = {"stdout": wanted if running == "wanted" else running}
    known["hostvars"]["kafka-2"]["_kafka_running_login"] = said
    known["hostvars"]["kafka-3"]["_kafka_running_login"] = {"skipped": True}
    found = Templar(DataLoader(), variables=known).template(trust_as_template("{{ _kafka_turns }}"))
    assert len(found) == turns


def test_a_machine_that_is_not_named_leaves() -> None:
    known = {**role_variables("kafka"), **variables(3, "kafka-3", kafka_machines=["kafka-1", "kafka-2"])}
    known["hostvars"]["kafka-3"]["_kafka_leaver"] = {"stat": {"exists": True}}
    for machine, stat in known["hostvars"].items():
        stat["inventory_hostname"] = machine
    templar = Templar(DataLoader(), variables=known)
    assert templar.template(trust_as_template("{{ _kafka_is_leaving }}")) is True
    assert templar.template(trust_as_template("{{ _kafka_leavers }}")) == ["kafka-3"]
    assert templar.template(trust_as_template("{{ _kafka_ids }}")) == [1, 2]
    known["hostvars"]["kafka-3"]["_kafka_leaver"] = {"stat": {"exists": False}}
    assert Templar(DataLoader(), variables=known).template(trust_as_template("{{ _kafka_leavers }}")) == []


def test_a_machine_that_is_missing_is_refused() -> None:
    (said,) = refusals(kafka_machines=["kafka-1", "kafka-2"])
    assert said.startswith("kafka_machines names kafka-2, and the group kafka has no such machine;")


@pytest.mark.parametrize(("count", "wanted"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_two_copies_must_be_in_sync_where_there_are_three(count: int, wanted: int) -> None:
    known = {**role_variables("kafka"), **variables(count, "kafka-1")}
    topics = Templar(DataLoader(), variables=known).template(trust_as_template("{{ _kafka_topics }}"))
    assert {topic["config"]["min.insync.replicas"] for topic in topics} == {wanted}
    known["kafka_settings"] = {"min.insync.replicas": 1}
    topics = Templar(DataLoader(), variables=known).template(trust_as_template("{{ _kafka_topics }}"))
    assert not [topic for topic in topics if "min.insync.replicas" in topic["config"]]


@pytest.mark.parametrize(("count", "internal"), [(1, "localhost:29092"), (3, "10.0.1.11:29092")])
def test_other_machines_are_told_an_address_of_this_one(count: int, internal: str) -> None:
    """Whoever reaches a listener from elsewhere gets neither the container's name nor localhost."""
    rendered = env(count, "kafka-1")
    advertised = dict(item.split("://") for item in rendered["KAFKA_ADVERTISED_LISTENERS"].split(","))
    controller = internal.replace("29092", "9093")
    assert advertised == {"INTERNAL": internal, "EXTERNAL": "10.0.1.11:9092", "CONTROLLER": controller}


def test_brokers_reach_each_other_by_private_addresses_whatever_clients_are_told() -> None:
    rendered = env(3, "kafka-2", kafka_advertised_host="broker.example.org")
    assert rendered["KAFKA_ADVERTISED_LISTENERS"] == (
        "INTERNAL://10.0.1.12:29092,EXTERNAL://broker.example.org:9092,CONTROLLER://10.0.1.12:9093"
    )
    assert "10.0.1.12:9093" in rendered["KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS"]


def test_tools_know_every_broker_and_trust_the_authority() -> None:
    known = {**role_variables("kafka"), **variables(3, "kafka-2")}
    bootstrap = Templar(DataLoader(), variables=known).template(known["_kafka_bootstrap"])
    assert bootstrap == "10.0.1.11:29092,10.0.1.12:29092,10.0.1.13:29092"
    login = properties("admin", 3)
    assert (login["security.protocol"], login["ssl.truststore.type"]) == ("SASL_SSL", "PEM")
    assert login["ssl.truststore.location"] == env(3, "kafka-2")["KAFKA_SSL_TRUSTSTORE_LOCATION"]
    assert not [name for name in properties("admin", 1) if name.startswith("ssl.")]


@pytest.mark.parametrize("count", [1, 3])
def test_the_controllers_of_one_broker_listen_inside_the_container_only(count: int) -> None:
    rendered = env(count, "kafka-1")
    controller = "CONTROLLER://localhost:9093" if count == 1 else "CONTROLLER://:9093"
    assert controller in rendered["KAFKA_LISTENERS"]
    assert rendered["KAFKA_PROCESS_ROLES"] == "broker,controller"


def test_an_advertised_address_can_be_set() -> None:
    rendered = env(1, "kafka-1", kafka_advertised_host="broker.example.org")
    assert "EXTERNAL://broker.example.org:9092" in rendered["KAFKA_ADVERTISED_LISTENERS"]


def test_logs_lie_in_the_mounted_directory() -> None:
    """Data survives the container."""
    log_dirs = env(1, "kafka-1")["KAFKA_LOG_DIRS"]
    assert f"/srv/kafka/data:{log_dirs}" in compose(1, "kafka-1")["volumes"]


def test_heap_is_a_share_of_the_machine() -> None:
    """By default 0.4 of its memory: of 2048 MiB here, and of a larger machine."""
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


def test_only_a_cluster_publishes_the_brokers_ports_and_only_at_its_own_address() -> None:
    assert compose(1, "kafka-1")["ports"] == ["10.0.1.11:9092:9092"]
    assert compose(3, "kafka-2")["ports"] == [f"10.0.1.12:{port}:{port}" for port in (9092, 9093, 29092)]


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_leaves_the_container_in_plain_text(count: int) -> None:
    rendered = env(count, "kafka-1")
    security = dict(item.split(":") for item in rendered["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    listeners = dict(item.split("://") for item in rendered["KAFKA_LISTENERS"].split(","))
    assert security["EXTERNAL"] == "SASL_SSL"
    for name, address in listeners.items():
        assert security[name] == ("SASL_PLAINTEXT" if address.startswith("localhost:") else "SASL_SSL")


@pytest.mark.parametrize("count", [1, 3])
def test_whoever_has_no_right_may_do_nothing(count: int) -> None:
    rendered = env(count, "kafka-1")
    assert rendered["KAFKA_AUTHORIZER_CLASS_NAME"].endswith(".StandardAuthorizer")
    assert rendered["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"] == "false"
    assert rendered["KAFKA_SUPER_USERS"] == "User:broker;User:admin"
    reauthentication = "KAFKA_LISTENER_NAME_EXTERNAL_SCRAM___SHA___512_CONNECTIONS_MAX_REAUTH_MS"
    assert rendered[reauthentication] == "3600000"


@pytest.mark.parametrize("count", [1, 3])
def test_passwords_stand_in_files_of_their_own(count: int) -> None:
    seen_by_docker = str(env(count, "kafka-1")) + str(compose(count, "kafka-1"))
    assert [name for name, password in SECRETS.items() if password in seen_by_docker] == []

    broker = properties("broker", count)
    login = f'username="broker" password="{SECRETS["kafka_broker_password"]}"'
    internal = broker["listener.name.internal.plain.sasl.jaas.config"]
    assert internal.endswith(f'user_admin="{SECRETS["kafka_admin_password"]}";')
    assert login in broker["listener.name.controller.plain.sasl.jaas.config"]
    external = broker["listener.name.external.scram-sha-512.sasl.jaas.config"]
    assert external.endswith(" required;")
    assert (
        f'username="admin" password="{SECRETS["kafka_admin_password"]}";'
        in (properties("admin", count)["sasl.jaas.config"])
    )
    assert not [line for line in (*broker.values(), *properties("admin", count).values()) if "\n" in line]


def test_what_the_broker_read_from_files_makes_another_container() -> None:
    label = "gpu-token.secrets-sha256"
    before = compose(1, "kafka-1")["labels"][label]
    assert compose(1, "kafka-1")["labels"][label] == before
    assert compose(1, "kafka-1", certificate_sha256="another")["labels"][label] != before
    assert compose(1, "kafka-1", kafka_admin_password="y" * 24)["labels"][label] != before
    # A user's password is the broker's data and needs no restart.
    assert compose(1, "kafka-1", kafka_processor_password="y" * 24)["labels"][label] == before


def test_the_container_may_change_nothing_but_its_data() -> None:
    service = compose(1, "kafka-1")
    assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "1000:1000")
    assert service["security_opt"] == ["no-new-privileges:true"]
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ["/srv/kafka/data:/var/lib/kafka/data"]


def test_the_broker_starts_behind_the_guard_of_its_disk() -> None:
    service = compose(1, "kafka-1", kafka_disk_reserve_mib=300)
    # As compose reads it.
    shell, flag, script, *arguments = [word.replace("$$", "$") for word in service["entrypoint"]]
    assert (shell, flag) == ("sh", "-c")
    assert script == (ROLES / "service/files/disk_guard.sh").read_text().rstrip("\n")
    assert arguments == ["disk_guard", "/var/lib/kafka/data", "300"]
    assert "exec /opt/kafka/bin/kafka-server-start.sh" in service["command"][-1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kafka_disk_reserve_mib": -1}, "kafka_disk_reserve_mib is -1; it must be 0 or more"),
        ({"kafka_disk_gib": 2}, "the disk has 2 GiB, most of which the topics may fill; take at most 409."),
    ],
)
def test_a_reserve_that_the_disk_has_not_is_refused(settings: dict[str, Any], sentence: str) -> None:
    [refusal] = refusals(**settings)
    assert sentence in refusal


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kafka_admin_password": "too-short"}, "The password of Kafka's admin has fewer than 20 characters"),
        ({"kafka_broker_password": 'quoted"' * 4}, "The password of Kafka's broker has fewer"),
        ({"fleet_secrets": {}}, "The password of Kafka's processor, producers, broker, admin has fewer"),
        (
            {"kafka_users": [{"name": "admin", "password": "x" * 24}], "kafka_acls": []},
            "kafka_users names broker or admin",
        ),
        (
            {"kafka_writers": [{"name": "processor", "password": "x" * 24}]},
            "kafka_users and kafka_writers name a user twice (processor, producers, processor)",
        ),
        (
            {"kafka_writers": [{"name": "gpu-a", "password": "short"}]},
            "The password of Kafka's gpu-a has fewer",
        ),
        (
            {"kafka_acls": [{"user": "procesor", "operation": "read"}]},
            "kafka_acls names procesor, who is no user of kafka_users (processor, producers)",
        ),
    ],
)
def test_users_that_cannot_work_are_refused_without_a_password(
    settings: dict[str, Any], sentence: str
) -> None:
    [refusal] = refusals(**settings)
    assert sentence in refusal
    assert not {str(value) for value in settings.values()} & set(refusal.split())


def test_the_default_settings_are_not_refused() -> None:
    assert refusals() == []
