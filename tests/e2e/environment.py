"""The lab's environment of these tests: its fleet, its firewall, its secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Network
from typing import Any

from fleet.model import Flow, load
from lab import firewall, machines
from lab.report import Report
from lab.settings import from_environment
from testing import aws

from .runner import ROOT

FLEET = load(ROOT / "fleet.yml")
ROLES = FLEET.machines()
Outside = Mapping[str, tuple[IPv4Network, ...]]


def listing() -> dict[str, machines.Machine]:
    """The machines of the lab."""
    return machines.listing(from_environment(os.environ, FLEET))


def enforce(flows: Iterable[Flow], outside: Outside = FLEET.outside) -> None:
    """Put the lab's firewall in place for these flows; machines and their connections stay as they are."""
    fleet = FLEET.model_copy(update={"flows": tuple(flows), "outside": outside})
    hosts = {name: (machine.role, machine.address) for name, machine in listing().items()}
    firewall.ensure(firewall.chains(from_environment(os.environ, FLEET), fleet, hosts), Report())


@contextmanager
def enforced(flows: Iterable[Flow], outside: Outside = FLEET.outside) -> Iterator[None]:
    """These flows, and networks outside, for a while; then fleet.yml's again."""
    enforce(flows, outside)
    try:
        yield
    finally:
        enforce(FLEET.flows)


def every_secret() -> dict[str, str]:
    """Name -> value, as SSM holds them."""
    pages = (
        parameters()
        .get_paginator("get_parameters_by_path")
        .paginate(Path=secrets_path(), WithDecryption=True)
    )
    return {one["Name"].rpartition("/")[2]: one["Value"] for page in pages for one in page["Parameters"]}


def parameters() -> Any:
    """A client of the lab's SSM."""
    return aws.client("ssm", from_environment(os.environ, FLEET).ec2_url)


def secrets_path() -> str:
    """Where the secrets are kept, as inventories/lab has it."""
    return f"/{FLEET.project}/{from_environment(os.environ, FLEET).name}"
