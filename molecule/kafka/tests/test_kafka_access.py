"""Who can log in, and what they may do. Tests run in order: the first sets known passwords."""

from __future__ import annotations

import re

import pytest
from broker import PROJECT, ROOT, converge, inspect, knock, tool, tool_as
from testinfra.host import Host

from fleet.model import load

USAGE = load(ROOT / "fleet.yml").topics.token_usage.name
PRODUCERS, PROCESSOR = "producers-" + "k" * 24, "processor-" + "k" * 24
PASSWORDS = {"producers": PRODUCERS, "processor": PROCESSOR}
VARIABLES = {f"kafka_{user}_password": password for user, password in PASSWORDS.items()}
SEND = "kafka-console-producer.sh"
READ = "kafka-console-consumer.sh --timeout-ms 30000"
PLAIN = "socket.create_connection(address, 10)"
SECURED = f"ssl.create_default_context(cafile=ca_file).wrap_socket({PLAIN}, server_hostname=address[0])"
# Kafka's request for all topics.
TOPICS = "3, 0, bytes(4)"
DENIED = "Not authorized to access|[Aa]uthorization failed|AuthorizationException"


def container_log(host: Host) -> str:
    """What the broker has written so far."""
    with host.sudo():
        result = host.run("docker logs kafka")
    return f"{result.stdout}{result.stderr}"


def test_other_passwords_change_one_task_and_restart_nothing(host: Host) -> None:
    container = inspect(host)["Id"]
    run = converge("-vvv", "--diff", **VARIABLES)
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.findall(r"kafka-1 +: ok=\d+ +changed=(\d+)", run.stdout) == ["1"]
    assert "set the password of producers" in run.stdout
    assert inspect(host)["Id"] == container
    for user, password in PASSWORDS.items():
        assert password not in run.stdout
        assert knock(host, f"login(address, ca_file, {user!r}, {password!r})") == "let in"


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        (f"Connection({PLAIN}).ask({TOPICS})", "turned away"),
        (f"Connection({SECURED}).ask({TOPICS})", "turned away"),
        (f"login(address, ca_file, 'producers', {PROCESSOR!r})", "wrong password"),
        ("login(address, ca_file, 'producers', '')", "wrong password"),
        ("login(address, ca_file, 'admin', 'admin')", "wrong password"),
        ("login(address, None, 'producers', '')", "unknown authority"),
    ],
    ids=["plain", "no-login", "anothers-password", "no-password", "admin", "unknown-authority"],
)
def test_nobody_gets_in_without_a_login(host: Host, attempt: str, outcome: str) -> None:
    assert knock(host, attempt) == outcome


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("producers", f"{SEND} --topic {USAGE}.dlq <<< x"),
        ("producers", f"{READ} --topic {USAGE} --group dead-letter-resend.test"),
        ("producers", "kafka-acls.sh --add --allow-principal User:producers --operation All --topic '*'"),
        ("processor", f"{SEND} --topic {USAGE} <<< x"),
        ("processor", f"{READ} --topic {USAGE} --group other"),
        ("processor", "kafka-topics.sh --create --topic extra --partitions 1 --replication-factor 1"),
    ],
)
def test_no_role_has_rights_of_another(host: Host, user: str, command: str) -> None:
    assert re.search(DENIED, tool_as(host, user, PASSWORDS[user], command))


def test_each_role_has_its_own_rights(host: Host) -> None:
    sent = tool_as(host, "producers", PRODUCERS, f"{SEND} --topic {USAGE} <<< x")
    assert not re.search("ERROR|Exception", sent)
    group = f"--topic {USAGE} --group gpu-token-processor"
    read = tool_as(host, "processor", PROCESSOR, f"{READ} {group} --from-beginning --max-messages 1")
    assert "Processed a total of 1 messages" in read


def test_refusals_are_logged(host: Host) -> None:
    log = container_log(host)
    assert "Principal = User:producers is Denied operation = WRITE" in log
    assert "invalid credentials with SASL mechanism SCRAM-SHA-512" in log
    assert "SSL handshake failed" in log


def test_rights_that_nobody_listed_are_withdrawn(host: Host) -> None:
    tool(host, "kafka-acls.sh --add --allow-principal User:mallory --operation All --topic '*' --group '*'")
    run = converge("--diff", **VARIABLES)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "-User:mallory may ALL TOPIC *" in run.stdout
    assert "mallory" not in tool(host, "kafka-acls.sh --list")


def test_no_secret_is_seen_by_docker_or_in_the_log(host: Host) -> None:
    with host.sudo():
        files = host.check_output(f"cd {PROJECT} && cat config/server.properties secrets/admin.properties")
        seen = host.check_output(f"docker inspect kafka; cat {PROJECT}/.env {PROJECT}/compose.yml")
        seen += host.check_output("ps -eo args; docker exec kafka cat /proc/1/environ | tr '\\0' ' '")
    secrets = set(re.findall(r'(?:password|user_\w+)="([^"]+)"', files)) | set(PASSWORDS.values())
    assert len(secrets) == 4
    seen += container_log(host)
    assert not [secret for secret in secrets if secret in seen]


@pytest.mark.parametrize(
    ("path", "mode", "uid"),
    [
        ("config", 0o700, 1000),
        ("config/server.properties", 0o600, 1000),
        ("secrets/admin.properties", 0o400, 1000),
        ("secrets/server.pem", 0o400, 1000),
    ],
)
def test_only_the_broker_reads_its_secrets(host: Host, path: str, mode: int, uid: int) -> None:
    with host.sudo():
        file = host.file(f"{PROJECT}/{path}")
        assert (file.mode, file.uid) == (mode, uid)


def test_the_process_has_no_capability_and_writes_nowhere_but_to_its_data(host: Host) -> None:
    settings = inspect(host)["HostConfig"]
    assert (settings["ReadonlyRootfs"], settings["CapDrop"], settings["PidsLimit"]) == (True, ["ALL"], 512)
    with host.sudo():
        status = host.check_output("docker exec kafka cat /proc/1/status")
        for folder in ("/etc/kafka/secrets", "/opt/kafka/bin"):
            refused = host.run(f"docker exec --user root kafka touch {folder}/x")
            assert "Read-only file system" in refused.stderr
    for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_works(host: Host, codec: str) -> None:
    """The libraries of zstd and snappy are unpacked and run in a folder that is mounted for it."""
    said = tool(host, f"{SEND} --topic {USAGE} --compression-codec {codec} <<< x")
    assert "ERROR" not in said
