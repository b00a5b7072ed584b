"""known_hosts.py with stand-ins for terraform and the AWS CLI."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "terraform" / "known_hosts.py"
OUTPUTS = {
    "region": {"value": "us-east-1"},
    "instance_ids": {"value": {"kafka-1": "i-0a"}},
}
TWO = OUTPUTS | {"instance_ids": {"value": {"kafka-1": "i-0a", "kafka-2": "i-0b"}}}
CONSOLE = """[   12.1] cloud-init[900]: ready
-----BEGIN SSH HOST KEY KEYS-----\r
ecdsa-sha2-nistp256 AAAAE2 root@ip-10-0-1-4\r
[   13.0] cloud-init[900]: ssh-ed25519 AAAAC3 root@ip-10-0-1-4\r
-----END SSH HOST KEY KEYS-----\r
login:
"""
SILENT = "None\n"
MACHINES = [["i-0a", "203.0.113.9", "10.0.1.4"]]
AWS = """#!/bin/sh
case "$*" in
  *describe-instances*) cat "$0.machines" ;;
  *) cat "$0.console.${7}" ;;
esac
"""


def known_hosts(
    folder: Path,
    outputs: object = OUTPUTS,
    consoles: dict[str, str] | None = None,
    machines: object = MACHINES,
    known: str = "",
) -> subprocess.CompletedProcess[str]:
    """One run in which terraform and aws print the given texts, and SSH knows so much already."""
    (folder / "terraform").write_text(f"#!/bin/sh\ncat {folder}/terraform.txt\n")
    (folder / "terraform.txt").write_text(json.dumps(outputs))
    (folder / "aws").write_text(AWS)
    (folder / "aws.machines").write_text(json.dumps(machines))
    for instance_id, console in (consoles or {"i-0a": CONSOLE}).items():
        (folder / f"aws.console.{instance_id}").write_text(console)
    for name in ("terraform", "aws"):
        (folder / name).chmod(0o755)
    (folder / ".ssh").mkdir(exist_ok=True)
    (folder / ".ssh" / "known_hosts").write_text(known)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=environment,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_every_key_stands_under_every_name(tmp_path: Path) -> None:
    done = known_hosts(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "203.0.113.9,10.0.1.4,i-0a ecdsa-sha2-nistp256 AAAAE2",
        "203.0.113.9,10.0.1.4,i-0a ssh-ed25519 AAAAC3",
    ]


def test_a_machine_without_public_address_has_no_empty_name(tmp_path: Path) -> None:
    done = known_hosts(tmp_path, machines=[["i-0a", None, "10.0.1.4"]])
    assert done.stdout.startswith("10.0.1.4,i-0a ecdsa")


def test_a_machine_that_was_stopped_keeps_its_keys_under_its_new_address(tmp_path: Path) -> None:
    """Its console does not show them any more."""
    known = "198.51.100.7,10.0.1.4,i-0a ssh-ed25519 AAAAC3\n|1|hashed ssh-ed25519 AAAAother\n"
    done = known_hosts(tmp_path, consoles={"i-0a": SILENT}, known=known)
    assert (done.returncode, done.stdout) == (0, "203.0.113.9,10.0.1.4,i-0a ssh-ed25519 AAAAC3\n")
    again = known_hosts(tmp_path, consoles={"i-0a": SILENT}, known=known + done.stdout)
    assert (again.returncode, again.stdout) == (0, "")


def test_one_machine_without_keys_does_not_keep_those_of_others_back(tmp_path: Path) -> None:
    done = known_hosts(tmp_path, TWO, {"i-0a": SILENT, "i-0b": CONSOLE}, [["i-0b", None, "10.0.1.5"]])
    assert done.returncode == 1
    assert done.stdout.startswith("10.0.1.5,i-0b ecdsa")
    assert done.stderr.strip() == "No host keys on the console of kafka-1 (i-0a): try again in a minute."


def test_where_nothing_is_applied_that_is_said(tmp_path: Path) -> None:
    done = known_hosts(tmp_path, outputs={})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "terraform's state holds no machines: run terraform apply first."


def test_it_waits_for_keys_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("known_hosts", SCRIPT)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    consoles = iter([SILENT, "booting\n", CONSOLE, SILENT])
    monkeypatch.setattr(script, "run", lambda *_: next(consoles))
    monkeypatch.setattr(script, "SECONDS_BETWEEN_LOOKS", 0)
    later = time.monotonic() + 60
    assert script.printed_keys("us-east-1", "i-0a", later)[0] == "ecdsa-sha2-nistp256 AAAAE2"
    assert script.printed_keys("us-east-1", "i-0a", time.monotonic() - 1) == []
