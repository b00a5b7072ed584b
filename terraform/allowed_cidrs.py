#!/usr/bin/env python3
"""Prints Terraform's allowed_cidrs as JSON: the operator's address, found when it is not given.

MY_IP_CIDR is used where terraform.tfvars sets no allowed_cidrs (Terraform prefers that file to what is
printed here). Where neither is set, the address that CHECK_IP_URL sees is taken as a /32.
Standard library only.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

TFVARS = Path(__file__).parent / "terraform.tfvars"
CHECK_IP_URL = "https://checkip.amazonaws.com"
REMEDY = "give yours: MY_IP_CIDR=203.0.113.7/32"


def given(cidr: str) -> str:
    """The network as the operator wrote it; Terraform judges how wide it may be."""
    try:
        return str(ipaddress.IPv4Network(cidr))
    except ValueError as error:
        sys.exit(f"MY_IP_CIDR is '{cidr}', which is no IPv4 network ({error}); {REMEDY}.")


def found(url: str) -> str:
    """The one address that a service on the internet sees."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read(64).decode("ascii", "replace").strip()
    except (urllib.error.URLError, OSError) as error:
        sys.exit(f"Your address could not be found at {url} ({error}); {REMEDY}.")
    try:
        return f"{ipaddress.IPv4Address(text)}/32"
    except ValueError:
        sys.exit(f"{url} answered '{text}', which is no IPv4 address; {REMEDY}.")


def main() -> None:
    """Print the list, or nothing where terraform.tfvars has it."""
    if cidr := os.environ.get("MY_IP_CIDR"):
        print(json.dumps([given(cidr)]))
    elif not (TFVARS.exists() and re.search(r"^\s*allowed_cidrs\s*=", TFVARS.read_text(), re.MULTILINE)):
        print(json.dumps([found(os.environ.get("CHECK_IP_URL", CHECK_IP_URL))]))


if __name__ == "__main__":
    main()
