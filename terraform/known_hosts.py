#!/usr/bin/env python3
"""Prints the known_hosts lines that SSH lacks for the fleet, so that it trusts no key it has not been told.

The keys come from the consoles, where cloud-init writes them at the first boot: by way of
AWS's API, not of the network that SSH is to be protected from. A console forgets them, so the
keys of a machine that ~/.ssh/known_hosts has under its instance id are taken from there: a machine
that was stopped has another address afterwards, and the same keys. Needs terraform's state and the
AWS CLI; standard library only.

    python3 terraform/known_hosts.py [SECONDS] >> ~/.ssh/known_hosts

A machine prints its keys a minute or two after it was made; SECONDS is how long to wait (default: 0).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
KNOWN_HOSTS = Path("~/.ssh/known_hosts").expanduser()
SECONDS_BETWEEN_LOOKS = 10
KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----\n(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"^(?:.*\s)?((?:ssh|ecdsa)-\S+ \S+)", re.MULTILINE)


def run(*command: str) -> str:
    """What a command prints; its own words and an exit if it fails."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not installed: docs/aws.md says what you need.")
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


def host_keys(console: str) -> list[str]:
    """The keys of the latest boot that printed any."""
    blocks = KEYS.findall(console.replace("\r", ""))
    return KEY.findall(blocks[-1]) if blocks else []


def known_keys(known_hosts: str, instance_id: str) -> list[str]:
    """The keys that SSH was told of this machine before, under whichever address."""
    lines = (line.split(maxsplit=1) for line in known_hosts.splitlines() if " " in line)
    return list(dict.fromkeys(keys for names, keys in lines if instance_id in names.split(",")))


def printed_keys(region: str, instance_id: str, deadline: float) -> list[str]:
    """The keys on a machine's console, as soon as it has printed them; none if it has not in time."""
    while True:
        # An option and its value belong on one line.
        # fmt: off
        console = run("aws", "ec2", "get-console-output", "--latest", "--region", region,
                      "--instance-id", instance_id, "--query", "Output", "--output", "text")
        # fmt: on
        keys = host_keys(console)
        if keys or time.monotonic() > deadline:
            return keys
        time.sleep(SECONDS_BETWEEN_LOOKS)


def addresses(region: str, instance_ids: list[str]) -> dict[str, list[str]]:
    """Where each machine is now: terraform's state has the addresses of the last apply."""
    # fmt: off
    printed = run("aws", "ec2", "describe-instances", "--region", region, "--instance-ids", *instance_ids,
                  "--query", "Reservations[].Instances[].[InstanceId,PublicIpAddress,PrivateIpAddress]",
                  "--output", "json")
    # fmt: on
    return {instance_id: [*filter(None, found)] for instance_id, *found in json.loads(printed)}


def main() -> None:
    """One line for each key of each machine, under every name that Ansible may use for it."""
    deadline = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 0)
    outputs = json.loads(run("terraform", f"-chdir={HERE}", "output", "-json"))
    if "instance_ids" not in outputs:
        sys.exit("terraform's state holds no machines: run terraform apply first.")
    region = outputs["region"]["value"]
    machines = outputs["instance_ids"]["value"]
    known = KNOWN_HOSTS.read_text() if KNOWN_HOSTS.exists() else ""
    silent = []
    where = addresses(region, list(machines.values()))
    for name, instance_id in machines.items():
        keys = known_keys(known, instance_id) or printed_keys(region, instance_id, deadline)
        lines = [f"{','.join([*where.get(instance_id, []), instance_id])} {key}" for key in keys]
        for line in lines:
            if line not in known.splitlines():
                print(line)
        if not keys:
            silent.append(f"{name} ({instance_id})")
    if silent:
        sys.exit(f"No host keys on the console of {', '.join(silent)}: try again in a minute.")


if __name__ == "__main__":
    main()
