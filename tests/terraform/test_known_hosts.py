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
    "instance_public_ips": {"value": {"kafka-1": "203.0.113.9"}},
    "instance_private_ips": {"value": {"kafka-1": "10.0.1.4"}},
}
CONSOLE = """[   12.1] cloud-init[900]: ready
-----BEGIN SSH HOST KEY KEYS-----\r
ecdsa-sha2-nistp256 AAAAE2 root@ip-10-0-1-4\r
[   13.0] cloud-init[900]: ssh-ed25519 AAAAC3 root@ip-10-0-1-4\r
-----END SSH HOST KEY KEYS-----\r
login:
"""


def known_hosts(folder: Path, outputs: object, console: str) -> subprocess.CompletedProcess[str]:
    """One run in which terraform and aws print the given texts."""
    for name, text in {"terraform": json.dumps(outputs), "aws": console}.items():
        (folder / f"{name}.txt").write_text(text)
        (folder / name).write_text(f'#!/bin/sh\ncat "{folder}/{name}.txt"\n')
        (folder / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=environment,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_every_key_stands_under_every_name(tmp_path: Path) -> None:
    done = known_hosts(tmp_path, OUTPUTS, CONSOLE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "203.0.113.9,10.0.1.4,i-0a ecdsa-sha2-nistp256 AAAAE2",
        "203.0.113.9,10.0.1.4,i-0a ssh-ed25519 AAAAC3",
    ]


def test_a_machine_without_public_address_has_no_empty_name(tmp_path: Path) -> None:
    outputs = OUTPUTS | {"instance_public_ips": {"value": {"kafka-1": ""}}}
    done = known_hosts(tmp_path, outputs, CONSOLE)
    assert done.stdout.startswith("10.0.1.4,i-0a ecdsa")


@pytest.mark.parametrize(
    ("outputs", "console", "sentence"),
    [
        (OUTPUTS, "None\n", "kafka-1 (i-0a) has printed no host keys yet: try again in a minute."),
        ({}, CONSOLE, "terraform's state holds no machines: run terraform apply first."),
    ],
    ids=["no keys yet", "nothing applied"],
)
def test_what_is_missing_is_said(tmp_path: Path, outputs: object, console: str, sentence: str) -> None:
    done = known_hosts(tmp_path, outputs, console)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip() == sentence


def test_it_waits_for_keys_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("known_hosts", SCRIPT)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    consoles = iter(["None\n", "booting\n", CONSOLE, "None\n"])
    monkeypatch.setattr(script, "run", lambda *_: next(consoles))
    monkeypatch.setattr(script, "SECONDS_BETWEEN_LOOKS", 0)
    later = time.monotonic() + 60
    assert script.printed_keys("us-east-1", "kafka-1", "i-0a", later)[0] == "ecdsa-sha2-nistp256 AAAAE2"
    with pytest.raises(SystemExit, match="has printed no host keys yet"):
        script.printed_keys("us-east-1", "kafka-1", "i-0a", time.monotonic() - 1)
