"""The EC2 API (lab/aws_api.py) and what is registered in it.

moto keeps everything in memory, so registration is a comparison with the machines that exist: run
at any time, it brings the API in line with them.
"""

from __future__ import annotations

import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import boto3

from lab import ports
from lab.daemon import Daemon
from lab.report import Report
from lab.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, TagTypeDef, VolumeTypeDef

REGION = "us-east-1"
ZONE = f"{REGION}a"
DATA_DEVICE = "/dev/sdf"
"""The device name under which an instance's data volume is attached."""
PROGRAM = "moto_server"
"""The name of the API's process."""
START_SECONDS = 60
# Every instance needs an image id; nobody reads it.
_IMAGE_ID = "ami-00000000000000000"


@dataclass(frozen=True)
class Instance:
    """A machine as the EC2 API shows it."""

    name: str
    role: str
    address: IPv4Address
    instance_type: str
    running: bool


@dataclass(frozen=True)
class DataVolume:
    """A machine's data volume, which outlives the machine."""

    machine: str
    role: str
    size_gib: int


def ensure_server(settings: Settings, report: Report) -> None:
    """The API server, on this computer's loopback address only."""
    server = _daemon(settings)
    if server.pid() is not None and answers(settings):
        return
    server.stop()
    require_port(settings)
    parameters = str(settings.state / "parameters.json")
    command = [sys.executable, "-m", "lab.aws_api", str(settings.ec2_port), parameters]
    server.start(command, lambda: answers(settings), START_SECONDS)
    report.changed(f"EC2 API at {settings.ec2_url}")


def require_port(settings: Settings) -> None:
    """Refuse a port that another process has."""
    if _daemon(settings).pid() is None:
        ports.require_free("127.0.0.1", settings.ec2_port, "LAB_EC2_PORT")


def stop_server(settings: Settings, report: Report) -> None:
    """End the API server, and with it what was registered."""
    if _daemon(settings).stop():
        report.changed("EC2 API stopped")


def client(settings: Settings) -> EC2Client:
    """A client of the environment's API."""
    return boto3.client(
        "ec2",
        endpoint_url=settings.ec2_url,
        region_name=REGION,
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )


def tags(project: str, environment: str, instance: Instance) -> dict[str, str]:
    """The tags that Terraform gives a machine on AWS."""
    return {
        "Name": instance.name,
        "Role": instance.role,
        "Project": project,
        "Environment": environment,
    }


def volume_tags(project: str, environment: str, volume: DataVolume) -> dict[str, str]:
    """The tags that Terraform gives a data volume on AWS."""
    return {
        "Name": f"{volume.machine}-data",
        "Role": volume.role,
        "Project": project,
        "Environment": environment,
    }


def register(
    ec2: EC2Client,
    project: str,
    environment: str,
    network: tuple[IPv4Network, IPv4Network],
    wanted: Iterable[Instance],
    report: Report,
) -> None:
    """Bring the API in line with the machines; ``network`` is the VPC's and the subnet's range."""
    subnet_id = _subnet(ec2, *network)
    wanted = list(wanted)
    known = dict(registered(ec2, project, environment))
    for instance_id, instance in known.items():
        if not any(_same(instance, other) for other in wanted):
            ec2.terminate_instances(InstanceIds=[instance_id])
            report.changed(f"{instance.name}: instance {instance_id} terminated")
    for instance in wanted:
        found = next((key for key, other in known.items() if _same(instance, other)), None)
        if found is None:
            made = _launch(ec2, subnet_id, tags(project, environment, instance), instance)
            report.changed(f"{instance.name}: instance {made} at {instance.address}")
            if not instance.running:
                ec2.stop_instances(InstanceIds=[made])
            continue
        if known[found].instance_type != instance.instance_type:
            ec2.modify_instance_attribute(InstanceId=found, InstanceType={"Value": instance.instance_type})
            report.changed(f"{instance.name}: registered as {instance.instance_type}")
        if known[found].running and not instance.running:
            ec2.stop_instances(InstanceIds=[found])
        elif instance.running and not known[found].running:
            ec2.start_instances(InstanceIds=[found])


def registered(ec2: EC2Client, project: str, environment: str) -> list[tuple[str, Instance]]:
    """The instances that are not terminated, with their ids."""
    filters: list[FilterTypeDef] = [
        *_of_environment(project, environment),
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    found = []
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for reservation in page["Reservations"]:
            for raw in reservation["Instances"]:
                labels = _labels(raw)
                instance = Instance(
                    name=labels["Name"],
                    role=labels["Role"],
                    address=IPv4Address(raw["PrivateIpAddress"]),
                    instance_type=raw["InstanceType"],
                    running=raw["State"]["Name"] in ("pending", "running"),
                )
                found.append((raw["InstanceId"], instance))
    return found


def terminate(ec2: EC2Client, project: str, environment: str, machine: str) -> None:
    """Terminate the instance of one machine."""
    ids = [key for key, instance in registered(ec2, project, environment) if instance.name == machine]
    if ids:
        ec2.terminate_instances(InstanceIds=ids)


def ensure_volume(ec2: EC2Client, project: str, environment: str, volume: DataVolume, report: Report) -> str:
    """The id of a machine's data volume, made if it is not there, enlarged if it is too small.

    The disk outlives the API's memory, so the volume gets the same id each time: moto draws ids
    from a source that can be seeded.
    """
    labels = volume_tags(project, environment, volume)
    found = next((raw for raw in _volumes(ec2, project, environment) if _labels(raw) == labels), None)
    if found is not None:
        if found["Size"] < volume.size_gib:
            ec2.modify_volume(VolumeId=found["VolumeId"], Size=volume.size_gib)
        return found["VolumeId"]
    _seed(ec2, zlib.crc32(f"{environment}/{volume.machine}".encode()))
    try:
        made = ec2.create_volume(
            AvailabilityZone=ZONE,
            Size=volume.size_gib,
            VolumeType="gp3",
            Encrypted=True,
            # Named, so that moto makes no key first, whose id would be drawn before the volume's.
            KmsKeyId="alias/aws/ebs",
            TagSpecifications=[{"ResourceType": "volume", "Tags": _tag_list(labels)}],
        )
    finally:
        _seed(ec2, secrets.randbits(64))
    report.changed(f"{volume.machine}: data volume {made['VolumeId']}")
    return made["VolumeId"]


def attach_volumes(
    ec2: EC2Client, project: str, environment: str, wanted: Iterable[DataVolume], report: Report
) -> None:
    """Attach each machine's data volume to its instance, and delete the volumes of machines that are gone."""
    wanted = list(wanted)
    instances = {machine.name: key for key, machine in registered(ec2, project, environment)}
    ids = {ensure_volume(ec2, project, environment, volume, report): volume for volume in wanted}
    for raw in _volumes(ec2, project, environment):
        volume_id, holders = raw["VolumeId"], [held["InstanceId"] for held in raw["Attachments"]]
        target = instances[ids[volume_id].machine] if volume_id in ids else None
        if holders == [target]:
            continue
        for holder in holders:
            ec2.detach_volume(VolumeId=volume_id, InstanceId=holder)
        if target is None:
            ec2.delete_volume(VolumeId=volume_id)
            report.changed(f"data volume {volume_id} deleted")
        else:
            ec2.attach_volume(VolumeId=volume_id, InstanceId=target, Device=DATA_DEVICE)


def _same(one: Instance, other: Instance) -> bool:
    return (one.name, one.role, one.address) == (other.name, other.role, other.address)


def _subnet(ec2: EC2Client, vpc: IPv4Network, subnet: IPv4Network) -> str:
    filters: list[FilterTypeDef] = [
        {"Name": "cidr-block", "Values": [str(subnet)]},
        {"Name": "tag:Lab", "Values": ["yes"]},
    ]
    if found := ec2.describe_subnets(Filters=filters)["Subnets"]:
        return found[0]["SubnetId"]
    # A subnet of the same range may exist in the default VPC of the API.
    marks: list[TagTypeDef] = [{"Key": "Lab", "Value": "yes"}]
    vpc_id = ec2.create_vpc(CidrBlock=str(vpc))["Vpc"]["VpcId"]
    made = ec2.create_subnet(
        VpcId=vpc_id,
        CidrBlock=str(subnet),
        AvailabilityZone=ZONE,
        TagSpecifications=[{"ResourceType": "subnet", "Tags": marks}],
    )
    return made["Subnet"]["SubnetId"]


def _launch(ec2: EC2Client, subnet_id: str, labels: dict[str, str], instance: Instance) -> str:
    kind: InstanceTypeType = instance.instance_type  # type: ignore[assignment]  # any of hundreds
    made = ec2.run_instances(
        ImageId=_IMAGE_ID,
        InstanceType=kind,
        MinCount=1,
        MaxCount=1,
        # EC2's default, but not moto's: when the instance is gone, its interface and address are free again.
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": subnet_id,
                "PrivateIpAddress": str(instance.address),
                "DeleteOnTermination": True,
            }
        ],
        TagSpecifications=[{"ResourceType": "instance", "Tags": _tag_list(labels)}],
    )
    return made["Instances"][0]["InstanceId"]


def _volumes(ec2: EC2Client, project: str, environment: str) -> list[VolumeTypeDef]:
    pages = ec2.get_paginator("describe_volumes").paginate(Filters=_of_environment(project, environment))
    return [raw for page in pages for raw in page["Volumes"]]


def _of_environment(project: str, environment: str) -> list[FilterTypeDef]:
    return [
        {"Name": "tag:Project", "Values": [project]},
        {"Name": "tag:Environment", "Values": [environment]},
    ]


def _labels(raw: InstanceTypeDef | VolumeTypeDef) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw["Tags"]}


def _tag_list(labels: dict[str, str]) -> list[TagTypeDef]:
    return [{"Key": key, "Value": value} for key, value in labels.items()]


def _seed(ec2: EC2Client, number: int) -> None:
    url = urllib.parse.urljoin(ec2.meta.endpoint_url, f"/moto-api/seed?a={number}")
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5):
        pass


def answers(settings: Settings) -> bool:
    """Whether the API answers."""
    try:
        with urllib.request.urlopen(f"{settings.ec2_url}/moto-api/", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _daemon(settings: Settings) -> Daemon:
    return Daemon("ec2", PROGRAM, settings.state)
