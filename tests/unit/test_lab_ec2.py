"""Registration in the EC2 API."""

import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from moto.server import ThreadedMotoServer

from lab.ec2 import DataVolume, Instance, Registrations
from lab.report import Report
from testing import aws

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ROOT = Path(__file__).parents[2]
NETWORK = (IPv4Network("10.0.0.0/16"), IPv4Network("10.0.1.0/24"))
KAFKA = Instance("kafka-1", "kafka", IPv4Address("10.0.1.10"), "t3.small", running=True)
MONGO = Instance("mongo-1", "mongo", IPv4Address("10.0.1.11"), "t3.small", running=True)
KAFKA_DATA = DataVolume("kafka-1", "kafka", 20)
MONGO_DATA = DataVolume("mongo-1", "mongo", 20)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def api(url: str) -> "EC2Client":
    """An API that knows nothing, as after a start."""
    forget(url)
    return aws.client("ec2", url)


def forget(url: str) -> None:
    """Empty the API's memory."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")):
        pass


def of(api: "EC2Client", environment: str = "lab") -> Registrations:
    """What is registered of an environment."""
    return Registrations(api, "gpu-token", environment)


def register(api: "EC2Client", *wanted: Instance) -> dict[str, tuple[str, bool]]:
    """Register, and tell each name's id and whether it runs."""
    lab = of(api)
    lab.register(NETWORK, wanted, Report())
    return {machine.name: (key, machine.running) for key, machine in lab.registered()}


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
    for key in KAFKA.tags("gpu-token", "lab"):
        assert f"{key} = " in " ".join(terraform.split())


def test_a_second_registration_changes_nothing(api: "EC2Client") -> None:
    assert register(api, KAFKA, MONGO) == register(api, KAFKA, MONGO)
    assert len(of(api).registered()) == 2


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


def test_the_address_of_a_machine_that_is_gone_is_free(api: "EC2Client") -> None:
    register(api, KAFKA, MONGO)
    register(api, replace(KAFKA, address=IPv4Address("10.0.1.12")), MONGO)
    moved = replace(MONGO, address=KAFKA.address)
    register(api, replace(KAFKA, address=IPv4Address("10.0.1.12")), moved)
    assert moved in [instance for _, instance in of(api).registered()]


def test_another_size_is_the_same_instance(api: "EC2Client") -> None:
    before = register(api, KAFKA)
    assert register(api, replace(KAFKA, instance_type="t3.medium")) == before
    assert of(api).registered()[0][1].instance_type == "t3.medium"


def test_other_environments_are_left_alone(api: "EC2Client") -> None:
    of(api, "other").register(NETWORK, [KAFKA], Report())
    register(api)
    assert len(of(api, "other").registered()) == 1


def attach(api: "EC2Client", *wanted: DataVolume) -> None:
    of(api).attach_volumes(wanted, Report())


def attached(api: "EC2Client") -> dict[str, list[tuple[str, str]]]:
    """Volume id -> (instance, device) of each attachment, of all volumes but the machines' own disks."""
    volumes = api.describe_volumes(Filters=[{"Name": "tag:Project", "Values": ["gpu-token"]}])["Volumes"]
    return {
        volume["VolumeId"]: [(held["InstanceId"], held["Device"]) for held in volume["Attachments"]]
        for volume in volumes
    }


def test_a_data_volume_is_attached_to_its_machine(api: "EC2Client") -> None:
    (instance_id, _) = register(api, KAFKA, MONGO)["kafka-1"]
    attach(api, KAFKA_DATA)
    ((volume_id, holders),) = attached(api).items()
    assert holders == [(instance_id, "/dev/sdf")]
    volume = api.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (20, "gp3", True)
    mapped = api.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert ("/dev/sdf", volume_id) in [
        (device["DeviceName"], device["Ebs"]["VolumeId"]) for device in mapped["BlockDeviceMappings"]
    ]


def test_a_second_attachment_changes_nothing(api: "EC2Client") -> None:
    register(api, KAFKA, MONGO)
    attach(api, KAFKA_DATA, MONGO_DATA)
    before = attached(api)
    attach(api, KAFKA_DATA, MONGO_DATA)
    assert attached(api) == before
    assert len(before) == 2


def test_a_replaced_machine_gets_the_volume_of_the_old_one(api: "EC2Client") -> None:
    register(api, KAFKA)
    attach(api, KAFKA_DATA)
    (volume_id,) = attached(api)
    (instance_id, _) = register(api, replace(KAFKA, address=IPv4Address("10.0.1.12")))["kafka-1"]
    attach(api, KAFKA_DATA)
    assert attached(api) == {volume_id: [(instance_id, "/dev/sdf")]}


def test_a_volume_keeps_its_id_when_the_api_forgets(api: "EC2Client", url: str) -> None:
    """A reboot of the computer ends the API and not the disks."""
    instances, volumes = [], []
    for _ in range(2):
        forget(url)
        instances.append(register(api, KAFKA, MONGO))
        attach(api, KAFKA_DATA, MONGO_DATA)
        volumes.append(sorted(attached(api)))
    assert volumes[0] == volumes[1]
    ids = [machine_id for known in instances for machine_id, _ in known.values()]
    assert len(set(ids)) == len(ids), "the volumes' seed must not make other ids come again"


def test_environments_have_volumes_of_their_own(api: "EC2Client") -> None:
    ids = {of(api, environment).ensure_volume(KAFKA_DATA, Report()) for environment in ("lab", "e2e")}
    assert len(ids) == 2


def test_a_larger_disk_is_the_same_volume(api: "EC2Client") -> None:
    register(api, KAFKA)
    attach(api, KAFKA_DATA)
    before = attached(api)
    attach(api, replace(KAFKA_DATA, size_gib=30))
    assert attached(api) == before
    assert api.describe_volumes(VolumeIds=list(before))["Volumes"][0]["Size"] == 30


def test_the_volume_of_a_machine_that_is_gone_is_deleted(api: "EC2Client") -> None:
    register(api, KAFKA, MONGO)
    attach(api, KAFKA_DATA, MONGO_DATA)
    register(api, MONGO)
    attach(api, MONGO_DATA)
    assert len(attached(api)) == 1
