#!/usr/bin/env python3
"""Prints known_hosts lines for the fleet's machines, so that SSH trusts no key it has not been told.

The keys come from the consoles, where cloud-init writes them at the first boot: by way of
AWS's API, not of the network that SSH is to be protected from. Needs terraform's state and
the AWS CLI; standard library only.

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
SECONDS_BETWEEN_LOOKS = 10
KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----\n(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"^(?:.*\s)?((?:ssh|ecdsa)-\S+ \S+)", re.MULTILINE)


def run(*command: str) -> str:
    """What a command prints; its own words and an exit if it fails."""
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


def host_keys(console: str) -> list[str]:
    """The keys of the latest boot that printed any."""
    blocks = KEYS.findall(console.replace("\r", ""))
    return KEY.findall(blocks[-1]) if blocks else []


def printed_keys(region: str, name: str, instance_id: str, deadline: float) -> list[str]:
    """The keys on a machine's console, as soon as it has printed them."""
    while True:
        # An option and its value belong on one line.
        # fmt: off
        console = run("aws", "ec2", "get-console-output", "--latest", "--region", region,
                      "--instance-id", instance_id, "--query", "Output", "--output", "text")
        # fmt: on
        if keys := host_keys(console):
            return keys
        if time.monotonic() > deadline:
            sys.exit(f"{name} ({instance_id}) has printed no host keys yet: try again in a minute.")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def main() -> None:
    """One line for each key of each machine, under every name that Ansible may use for it."""
    deadline = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 0)
    outputs = json.loads(run("terraform", f"-chdir={HERE}", "output", "-json"))
    if "instance_ids" not in outputs:
        sys.exit("terraform's state holds no machines: run terraform apply first.")
    region = outputs["region"]["value"]
    lines = []
    for name, instance_id in outputs["instance_ids"]["value"].items():
        keys = printed_keys(region, name, instance_id, deadline)
        addresses = [outputs[f"instance_{kind}_ips"]["value"][name] for kind in ("public", "private")]
        names = ",".join(filter(None, [*addresses, instance_id]))
        lines += [f"{names} {key}" for key in keys]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
