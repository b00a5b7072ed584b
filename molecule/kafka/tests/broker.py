"""The broker on its machine: what Docker knows of it, its tools, and logins at it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testinfra.host import Host

ROOT = Path(__file__).parents[3]
LOGIN = ROOT / "plugins" / "module_utils" / "kafka_login.py"
PROJECT = "/opt/gpu-token/kafka"
# The console tools name the file of their login otherwise.
OPTIONS = {
    "kafka-console-producer.sh": "--producer.config",
    "kafka-console-consumer.sh": "--consumer.config",
}


def inspect(host: Host) -> dict[str, Any]:
    """What Docker knows of the container."""
    with host.sudo():
        found: list[dict[str, Any]] = json.loads(host.check_output("docker inspect kafka"))
    return found[0]


def address(host: Host) -> str:
    """The address at which clients reach the broker, which is published nowhere else."""
    [published] = inspect(host)["HostConfig"]["PortBindings"]["9092/tcp"]
    found: str = published["HostIp"]
    return found


def in_container(host: Host, server: str, config: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Kafka's tools with its first arguments."""
    name, _, arguments = command.partition(" ")
    login = f"--bootstrap-server {server} {OPTIONS.get(name, '--command-config')} {config}"
    with host.sudo():
        result = host.run(
            "docker exec --env KAFKA_HEAP_OPTS=-Xmx128m kafka bash -c %s",
            f"/opt/kafka/bin/{name} {login} {arguments}",
        )
    return subprocess.CompletedProcess(command, result.rc, result.stdout, result.stderr)


def tool(host: Host, command: str) -> str:
    """Run one of Kafka's tools as the role does; return what it prints."""
    done = in_container(host, "localhost:29092", "/etc/kafka/secrets/admin.properties", command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool_as(host: Host, user: str, password: str, command: str) -> str:
    """Run one of Kafka's tools as a client of another machine does; return whatever it says."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    config = (
        "security.protocol=SASL_SSL",
        "sasl.mechanism=SCRAM-SHA-512",
        f'sasl.jaas.config={module} required username="{user}" password="{password}";',
        "ssl.truststore.type=PEM",
        "ssl.truststore.location=/etc/kafka/secrets/ca.pem",
    )
    lines = " ".join(f"'{line}'" for line in config)
    done = in_container(host, f"{address(host)}:9092", f"<(printf '%s\\n' {lines})", command)
    return done.stdout + done.stderr


def knock(host: Host, attempt: str) -> str:
    """Try something at the broker with the role's own code, on the machine; return the outcome."""
    script = f"""{LOGIN.read_text()}
address, ca_file = ({address(host)!r}, 9092), "{PROJECT}/secrets/ca.pem"
try:
    {attempt}
    print("let in")
except LoginRefused:
    print("wrong password")
except ssl.SSLCertVerificationError:
    print("unknown authority")
except (LoginBroken, OSError):
    print("turned away")
"""
    said: str = host.check_output("python3 -c %s", script)
    return said


def end_offset(host: Host, topic: str) -> int:
    """How many events a topic has taken in all."""
    lines = tool(host, f"kafka-get-offsets.sh --topic {topic}").splitlines()
    return sum(int(line.rsplit(":", 1)[1]) for line in lines if line.startswith(topic))


def converge(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the role once more, with other variables."""
    return play("molecule/shared/converge.yml", *options, "-e", json.dumps(variables))


def play(playbook: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook on the scenario's machines."""
    return subprocess.run(
        ["ansible-playbook", "-i", "inventories/lab", playbook, *options],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
