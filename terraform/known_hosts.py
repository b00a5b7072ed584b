#!/usr/bin/env python3
"""Prints known_hosts lines for the fleet's machines, so that SSH trusts no key it has not been told.

The keys come from the consoles, where cloud-init writes them at the first boot: by way of
AWS's API, not of the network that SSH is to be protected from. Needs terraform's state and
the AWS CLI; standard library alone.

    python3 terraform/known_hosts.py >> ~/.ssh/known_hosts
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
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


def main() -> None:
    """One line for each key of each machine, under every name that Ansible may use for it."""
    outputs = json.loads(run("terraform", f"-chdir={HERE}", "output", "-json"))
    if "instance_ids" not in outputs:
        sys.exit("terraform's state holds no machines: run terraform apply first.")
    region = outputs["region"]["value"]
    lines = []
    for name, instance_id in outputs["instance_ids"]["value"].items():
        # fmt: off
        console = run("aws", "ec2", "get-console-output", "--latest", "--region", region,
                      "--instance-id", instance_id, "--query", "Output", "--output", "text")
        # fmt: on
        keys = host_keys(console)
        if not keys:
            sys.exit(f"{name} ({instance_id}) has printed no host keys yet: try again in a minute.")
        addresses = [outputs[f"instance_{kind}_ips"]["value"][name] for kind in ("public", "private")]
        names = ",".join(filter(None, [*addresses, instance_id]))
        lines += [f"{names} {key}" for key in keys]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
