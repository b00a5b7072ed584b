"""Registration in the EC2 API."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from lab import ec2
from lab.ec2 import Instance
from lab.report import Report

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ROOT = Path(__file__).parents[2]
NETWORK = (IPv4Network("10.0.0.0/16"), IPv4Network("10.0.1.0/24"))
KAFKA = Instance("kafka-1", "kafka", IPv4Address("10.0.1.10"), "t3.small", running=True)
MONGO = Instance("mongo-1", "mongo", IPv4Address("10.0.1.11"), "t3.small", running=True)


@pytest.fixture
def api() -> Iterator["EC2Client"]:
    with mock_aws():
        yield boto3.client(
            "ec2", region_name=ec2.REGION, aws_access_key_id="test", aws_secret_access_key="test"
        )


def register(api: "EC2Client", *wanted: Instance) -> dict[str, tuple[str, bool]]:
    """Register, and tell each name's id and whether it runs."""
    ec2.register(api, "gpu-token", "lab", NETWORK, wanted, Report())
    return {machine.name: (key, machine.running) for key, machine in ec2.registered(api, "gpu-token", "lab")}


def test_a_machine_is_registered_with_its_address_and_tags(api: "EC2Client") -> None:
    ids = register(api, KAFKA)
    raw = api.describe_instances(InstanceIds=[ids["kafka-1"][0]])["Reservations"][0]["Instances"][0]
    assert raw["PrivateIpAddress"] == "10.0.1.10"
    assert {tag["Key"]: tag["Value"] for tag in raw["Tags"]} == {
        "Name": "kafka-1",
        "Role": "kafka",
        "Project": "gpu-token",
        "Environment": "lab",
    }


def test_the_tags_are_those_that_terraform_gives() -> None:
    terraform = "".join(path.read_text() for path in (ROOT / "terraform").rglob("*.tf"))
    for key in ec2.tags("gpu-token", "lab", KAFKA):
        assert f"{key} = " in " ".join(terraform.split())


def test_a_second_registration_changes_nothing(api: "EC2Client") -> None:
    assert register(api, KAFKA, MONGO) == register(api, KAFKA, MONGO)
    assert len(ec2.registered(api, "gpu-token", "lab")) == 2


def test_a_stopped_machine_keeps_its_instance(api: "EC2Client") -> None:
    (before, _) = register(api, KAFKA)["kafka-1"]
    assert register(api, replace(KAFKA, running=False)) == {"kafka-1": (before, False)}
    assert register(api, KAFKA) == {"kafka-1": (before, True)}


def test_a_machine_first_seen_when_stopped(api: "EC2Client") -> None:
    assert register(api, replace(KAFKA, running=False))["kafka-1"][1] is False


def test_a_machine_with_another_address_is_another_instance(api: "EC2Client") -> None:
    before = register(api, KAFKA)["kafka-1"]
    assert register(api, replace(KAFKA, address=IPv4Address("10.0.1.12")))["kafka-1"] != before


def test_a_machine_that_is_gone_is_terminated(api: "EC2Client") -> None:
    register(api, KAFKA, MONGO)
    assert list(register(api, MONGO)) == ["mongo-1"]


def test_another_size_is_the_same_instance(api: "EC2Client") -> None:
    before = register(api, KAFKA)
    assert register(api, replace(KAFKA, instance_type="t3.medium")) == before
    assert ec2.registered(api, "gpu-token", "lab")[0][1].instance_type == "t3.medium"


def test_other_environments_are_left_alone(api: "EC2Client") -> None:
    ec2.register(api, "gpu-token", "other", NETWORK, [KAFKA], Report())
    register(api)
    assert len(ec2.registered(api, "gpu-token", "other")) == 1
