"""Attacks from every machine and from outside, without a login, with a wrong one, with another role's."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleet.model import Flow
from lab.settings import from_environment

from .environment import FLEET, ROLES, enforced, every_secret, listing
from .runner import ROOT, play

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]
ContainerIds = Callable[[], dict[str, str]]
# Where the network lets an attempt through, this is what each service answers.
REFUSALS = {
    ("kafka", "without TLS"): {"hung up"},
    ("kafka", "without a login"): {"hung up"},
    ("kafka", "with a wrong password"): {"login refused"},
    ("kafka", "with another's password"): {"login refused"},
    ("kafka", "as producers: read usage"): {"TopicAuthorizationFailedError"},
    ("kafka", "as producers: write dead letters"): {"TopicAuthorizationFailedError"},
    ("kafka", "as producers: make a topic"): {"TopicAuthorizationFailedError"},
    ("kafka", "as processor: write usage"): {"TopicAuthorizationFailedError"},
    ("kafka", "as processor: make a topic"): {"TopicAuthorizationFailedError"},
    ("kafka", "with bytes that are no request"): {"hung up"},
    ("kafka", "with a request of 2 GB"): {"hung up"},
    ("mongo", "without TLS"): {"hung up"},
    ("mongo", "without a login"): {"MongoDB 13"},
    ("mongo", "with a wrong password"): {"MongoDB 18"},
    ("mongo", "with the password for Kafka"): {"MongoDB 18"},
    ("mongo", "as processor: list databases"): {"MongoDB 13"},
    ("mongo", "as processor: read the users"): {"MongoDB 13"},
    ("mongo", "as processor: write elsewhere"): {"MongoDB 13"},
    ("mongo", "as processor: make a user"): {"MongoDB 13"},
    ("api", "/usage without a token"): {"HTTP 401"},
    ("api", "/cost without a token"): {"HTTP 401"},
    ("api", "/throughput without a token"): {"HTTP 401"},
    ("api", "/gpu/info without a token"): {"HTTP 401"},
    ("api", "/dead-letters without a token"): {"HTTP 401"},
    ("api", "with a wrong token"): {"HTTP 401"},
    ("api", "with another's secret"): {"HTTP 401"},
    ("api", "out of its folder"): {"HTTP 401"},
    ("api", "beside 505 silent connections"): {"HTTP 401"},
    ("api", "beside 505 half requests"): {"HTTP 401"},
    ("api", "with ever another address"): {"HTTP 429"},
    # The API hangs up on whoever goes on sending; some clients see its answer before that.
    ("api", "with a body of 8 MiB"): {"HTTP 413", "hung up"},
    ("api", "with a header of 1 MiB"): {"HTTP 400", "hung up"},
}
SERVICES = {"kafka": 9092, "mongo": 27017, "processor": 8080}
USERS = ("processor", "producers")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program and the two clients that it attacks with: only Python, so every machine can run them."""
    folder = tmp_path_factory.mktemp("attack")
    shutil.copy(Path(__file__).with_name("attack.py"), folder)
    shutil.copy(ROOT / "plugins" / "module_utils" / "kafka_login.py", folder)
    for package in ("kafka", "pymongo", "bson"):
        found = importlib.util.find_spec(package)
        assert found
        assert found.origin
        shutil.copytree(
            Path(found.origin).parent, folder / package, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def known() -> str:
    """What an attacker may know: every address and every login but the one it would need."""
    secrets = every_secret()
    addresses = {role: str(listing()[f"{role}-1"].address) for role in SERVICES}
    return json.dumps(
        {
            "kafka": f"{addresses['kafka']}:9092",
            "mongo": f"{addresses['mongo']}:27017",
            "api": f"{addresses['processor']}:8080",
            "ca": secrets["ca_certificate"],
            "usage_topic": FLEET.topics.token_usage.name,
            "kafka_passwords": {
                user: secrets[f"kafka_{user}_password"] for user in ("processor", "producers")
            },
            "mongo_password": secrets["mongo_processor_password"],
        }
    )


def from_machine(machine: str, clients: Path, known: str) -> dict[tuple[str, str], str]:
    """The answers to a machine's attempts."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(clients, arcname="attack")
    bring = ["lab", "exec", machine, "--", "tar", "-xz", "-C", "/tmp", "-f", "-"]
    subprocess.run(bring, input=packed.getvalue(), check=True, capture_output=True)
    try:
        return answers(["lab", "exec", machine, "--", "python3", "/tmp/attack/attack.py"], known)
    finally:
        subprocess.run(["lab", "exec", machine, "--", "rm", "-r", "/tmp/attack"], check=True)


def from_outside(clients: Path, known: str) -> dict[tuple[str, str], str]:
    """The same from a container beside the machines, which is none of them."""
    settings = from_environment(os.environ, FLEET)
    machine = ["docker", "inspect", "--format", "{{.Config.Image}}", f"{settings.network}-kafka-1"]
    image = subprocess.run(machine, check=True, capture_output=True, text=True).stdout.strip()
    run = ["docker", "run", "--rm", "-i", f"--network={settings.network}", f"--volume={clients}:/attack:ro"]
    return answers([*run, "--entrypoint=python3", image, "/attack/attack.py"], known)


def answers(command: list[str], known: str) -> dict[tuple[str, str], str]:
    """Run the program, tell it what it may know, read its answers."""
    done = subprocess.run(command, input=known, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said: list[list[str]] = json.loads(done.stdout)
    return {(service, what): answer for service, what, answer in said}


def test_nobody_gets_in(
    clients: Path, known: str, on_machine: OnMachine, container_ids: ContainerIds
) -> None:
    """With the firewall open between all machines, so that each service has to defend itself."""
    before = container_ids()
    started = on_machine("kafka-1", "date", "--iso-8601=seconds")
    holes = [
        Flow.model_validate({"from": source, "to": target, "port": port})
        for source in FLEET.roles
        for target, port in SERVICES.items()
    ]
    with enforced([*FLEET.flows, *holes]), ThreadPoolExecutor() as pool:
        found = dict(
            zip(ROLES, pool.map(lambda machine: from_machine(machine, clients, known), ROLES), strict=True)
        )
    found["outsider"] = from_outside(clients, known)
    report(found)
    for machine in ROLES:
        wrong = {what: said for what, said in found[machine].items() if said not in REFUSALS[what]}
        assert wrong == {}, machine
        assert set(found[machine]) == set(REFUSALS)
    assert set(found["outsider"].values()) == {"no answer"}

    logs = {role: on_machine(f"{role}-1", *logged(role, started)) for role in SERVICES}
    assert "Failed authentication" in logs["kafka"]
    assert "is Denied operation" in logs["kafka"]
    # The stand-in for MongoDB logs broken handshakes but no failed login.
    assert "TLS handshake" in logs["mongo"]
    assert "refused GET '/usage'" in logs["processor"]
    assert container_ids() == before
    play("playbooks/verify.yml").must_pass()


def logged(role: str, since: str) -> list[str]:
    """The command that reads a service's log."""
    return ["sh", "-c", f"docker logs --since {since} {role} 2>&1"]


def report(found: dict[str, dict[tuple[str, str], str]]) -> None:
    """Write build/attacks.json, which the table of docs/security.md is made of."""
    rows: list[dict[str, Any]] = [
        {"service": service, "attempt": what, "from": source, "answer": answer}
        for source, answered in found.items()
        for (service, what), answer in answered.items()
    ]
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "attacks.json").write_text(json.dumps(rows, indent=1) + "\n")
