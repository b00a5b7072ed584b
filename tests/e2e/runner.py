"""Runs the project's playbooks through ansible-runner and reads its events."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

ROOT = Path(__file__).resolve().parents[2]
# How Kafka's tools log in inside the broker's container.
KAFKA_LOGIN_FILE = "/etc/kafka/secrets/admin.properties"
KAFKA_SERVER = ("--bootstrap-server", "localhost:29092")
# The task that starts a service, whichever it is.
START = "Start the container, or replace it if its settings changed"


@dataclass(frozen=True)
class Play:
    """What one ansible-playbook run did."""

    rc: int
    stdout: str
    changed: dict[str, list[str]] = field(default_factory=dict)
    """Host -> names of the tasks that reported a change."""
    hosts: frozenset[str] = frozenset()
    """Hosts that ran at least one task."""
    artifacts: str = ""
    """Everything that ansible-runner wrote about it: command, standard output, events."""

    def must_pass(self) -> Play:
        assert self.rc == 0, f"ansible-playbook ended with {self.rc}:\n{self.stdout[-8000:]}"
        return self

    def must_change_nothing(self) -> Play:
        self.must_pass()
        assert not self.changed, (
            f"tasks that reported a change: {json.dumps(self.changed, indent=1)}\n{self.stdout[-8000:]}"
        )
        return self


def play(
    playbook: str,
    *,
    limit: str | None = None,
    tags: str | None = None,
    check: bool = False,
    verbosity: int = 0,
    **variables: Any,
) -> Play:
    """Run `playbook` against the environment named by LAB_NAME."""
    options = ["--diff"]
    if check:
        options.append("--check")
    private = Path(tempfile.mkdtemp(prefix="runner-"))
    try:
        run = ansible_runner.run(
            private_data_dir=str(private),
            project_dir=str(ROOT),
            playbook=playbook,
            inventory=str(ROOT / "inventories" / "lab"),
            limit=limit,
            tags=tags,
            cmdline=" ".join(options),
            extravars=variables,
            verbosity=verbosity or None,
            envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            quiet=True,
        )
        changed: dict[str, list[str]] = {}
        hosts: set[str] = set()
        for event in run.events:
            data = event.get("event_data", {})
            if event["event"] not in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
                continue
            hosts.add(data["host"])
            if data.get("res", {}).get("changed") and not data.get("ignore_errors"):
                changed.setdefault(data["host"], []).append(data["task"])
        assert run.rc is not None
        written = (file.read_text() for file in (private / "artifacts").rglob("*") if file.is_file())
        return Play(
            rc=run.rc,
            stdout=run.stdout.read(),
            changed=changed,
            hosts=frozenset(hosts),
            artifacts="\n".join(written),
        )
    finally:
        shutil.rmtree(private)


def kafka_tool(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of one of Kafka's tools, on the broker's machine."""
    inside = (f"/opt/kafka/bin/kafka-{name}.sh", *KAFKA_SERVER, "--command-config", KAFKA_LOGIN_FILE)
    return ("docker", "exec", "kafka", *inside, *arguments)


def host_variables(machine: str) -> dict[str, Any]:
    """What the inventory knows of a machine."""
    command = ["ansible-inventory", "-i", str(ROOT / "inventories" / "lab"), "--host", machine]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    variables: dict[str, Any] = json.loads(done.stdout)
    return variables
