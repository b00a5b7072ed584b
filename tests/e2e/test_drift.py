"""What somebody changed by hand is found by scripts/drift.sh; site.yml puts it right. Tests run in order.

Nothing beside it is found, and nothing else is put right. So a site whose machines test_replace has replaced
has nothing more to change.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from .environment import FLEET
from .runner import ROOT, START, kafka_tool, play

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]
DROP_INDEX = """
import pymongo
secrets = "/opt/gpu-token/mongo/secrets"
login = {"username": "admin", "password": open(f"{secrets}/admin-password").read()}
client = pymongo.MongoClient(tls=True, tlsCAFile=f"{secrets}/ca.pem", **login)
client["gpu_token"]["token_usage"].drop_index([("model", 1), ("ts", 1)])
"""
BY_HAND = {
    ("processor-1", "Write the compose file"),
    ("producers-1", START),
    ("mongo-1", "Create and replace indexes"),
    ("kafka-1", "Create and alter topics"),
}
STOPPED = ("processor", "mongo", "kafka")


def drift() -> subprocess.CompletedProcess[str]:
    """What scripts/drift.sh finds in the lab."""
    return subprocess.run(["scripts/drift.sh", "lab"], cwd=ROOT, capture_output=True, text=True, check=False)


def found(output: str) -> set[tuple[str, str]]:
    """Machine and task of each change that a dry run would make."""
    changes, task = set(), ""
    for line in output.splitlines():
        if heading := re.match(r"TASK \[(.+)\] \**$", line):
            task = heading[1].rpartition(" : ")[2]
        elif changed := re.match(r"changed: \[(.+?)\]", line):
            changes.add((changed[1], task))
    return changes


def test_what_was_changed_by_hand_is_found(on_machine: OnMachine) -> None:
    on_machine("processor-1", "sh", "-c", "echo '# by hand' >> /opt/gpu-token/processor/compose.yml")
    on_machine("producers-1", "docker", "stop", "producers")
    on_machine("mongo-1", "python3", "-c", DROP_INDEX)
    on_machine(
        "kafka-1",
        *kafka_tool(
            "configs",
            "--alter",
            f"--topic={FLEET.topics.token_usage.name}",
            "--add-config=retention.ms=60000",
        ),
    )
    done = drift()
    assert done.returncode == 2, done.stdout + done.stderr
    assert found(done.stdout) == BY_HAND
    for difference in ("-# by hand", "retention.ms", "model"):
        assert difference in done.stdout


def test_stopped_services_are_drift_and_no_failure(on_machine: OnMachine) -> None:
    for role in STOPPED:
        on_machine(f"{role}-1", "docker", "stop", role)
    done = drift()
    assert done.returncode == 2, done.stdout + done.stderr
    assert {(f"{role}-1", START) for role in STOPPED} <= found(done.stdout)


def test_a_converged_site_has_none() -> None:
    run = play("site.yml").must_pass()
    changed = {(machine, task) for machine, tasks in run.changed.items() for task in tasks}
    assert changed == BY_HAND | {(f"{role}-1", START) for role in STOPPED}
    done = drift()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("drift: none\n")
