"""What is registered in the EC2 API.

moto keeps everything in memory, so registration is a comparison with the machines that exist: run
at any time, it brings the API in line with them.
"""

from __future__ import annotations

import secrets
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from lab.ec2_server import REGION
from lab.report import Report

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, TagTypeDef, VolumeTypeDef

ZONE = f"{REGION}a"
DATA_DEVICE = "/dev/sdf"
"""The device name under which an instance's data volume is attached."""
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

    def tags(self, project: str, environment: str) -> dict[str, str]:
        """The tags that Terraform gives a machine on AWS."""
        return {"Name": self.name, "Role": self.role, "Project": project, "Environment": environment}


@dataclass(frozen=True)
class DataVolume:
    """A machine's data volume, which outlives the machine."""

    machine: str
    role: str
    size_gib: int

    def tags(self, project: str, environment: str) -> dict[str, str]:
        """The tags that Terraform gives a data volume on AWS."""
        name = f"{self.machine}-data"
        return {"Name": name, "Role": self.role, "Project": project, "Environment": environment}


class Registrations:
    """The instances and data volumes of one environment."""

    def __init__(self, api: EC2Client, project: str, environment: str) -> None:
        self._api = api
        self._owner = project, environment

    def register(
        self, network: tuple[IPv4Network, IPv4Network], wanted: Iterable[Instance], report: Report
    ) -> None:
        """Bring the API in line with the machines; ``network`` is the VPC's and the subnet's range."""
        subnet_id = self._subnet(*network)
        wanted = list(wanted)
        known = dict(self.registered())
        for instance_id, instance in known.items():
            if not any(_same(instance, other) for other in wanted):
                self._api.terminate_instances(InstanceIds=[instance_id])
                report.changed(f"{instance.name}: instance {instance_id} terminated")
        for instance in wanted:
            found = next((key for key, other in known.items() if _same(instance, other)), None)
            if found is None:
                made = self._launch(subnet_id, instance)
                report.changed(f"{instance.name}: instance {made} at {instance.address}")
                if not instance.running:
                    self._api.stop_instances(InstanceIds=[made])
                continue
            if known[found].instance_type != instance.instance_type:
                self._api.modify_instance_attribute(
                    InstanceId=found, InstanceType={"Value": instance.instance_type}
                )
                report.changed(f"{instance.name}: registered as {instance.instance_type}")
            if known[found].running and not instance.running:
                self._api.stop_instances(InstanceIds=[found])
            elif instance.running and not known[found].running:
                self._api.start_instances(InstanceIds=[found])

    def registered(self) -> list[tuple[str, Instance]]:
        """The instances that are not terminated, with their ids."""
        filters: list[FilterTypeDef] = [
            *self._of_environment(),
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ]
        found = []
        for page in self._api.get_paginator("describe_instances").paginate(Filters=filters):
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

    def terminate(self, machine: str) -> None:
        """Terminate the instance of one machine."""
        ids = [key for key, instance in self.registered() if instance.name == machine]
        if ids:
            self._api.terminate_instances(InstanceIds=ids)

    def ensure_volume(self, volume: DataVolume, report: Report) -> str:
        """The id of a machine's data volume, made if it is not there, enlarged if it is too small.

        The disk outlives the API's memory, so the volume gets the same id each time: moto draws ids
        from a source that can be seeded.
        """
        labels = volume.tags(*self._owner)
        found = next((raw for raw in self._volumes() if _labels(raw) == labels), None)
        if found is not None:
            if found["Size"] < volume.size_gib:
                self._api.modify_volume(VolumeId=found["VolumeId"], Size=volume.size_gib)
            return found["VolumeId"]
        self._seed(zlib.crc32(f"{self._owner[1]}/{volume.machine}".encode()))
        try:
            made = self._api.create_volume(
                AvailabilityZone=ZONE,
                Size=volume.size_gib,
                VolumeType="gp3",
                Encrypted=True,
                # Named, so that moto makes no key first, whose id would be drawn before the volume's.
                KmsKeyId="alias/aws/ebs",
                TagSpecifications=[{"ResourceType": "volume", "Tags": _tag_list(labels)}],
            )
        finally:
            self._seed(secrets.randbits(64))
        report.changed(f"{volume.machine}: data volume {made['VolumeId']}")
        return made["VolumeId"]

    def attach_volumes(self, wanted: Iterable[DataVolume], report: Report) -> None:
        """Attach each machine's data volume to its instance, and delete the volumes of machines that
        are gone.
        """
        wanted = list(wanted)
        instances = {machine.name: key for key, machine in self.registered()}
        ids = {self.ensure_volume(volume, report): volume for volume in wanted}
        for raw in self._volumes():
            volume_id, holders = raw["VolumeId"], [held["InstanceId"] for held in raw["Attachments"]]
            target = instances[ids[volume_id].machine] if volume_id in ids else None
            if holders == [target]:
                continue
            for holder in holders:
                self._api.detach_volume(VolumeId=volume_id, InstanceId=holder)
            if target is None:
                self._api.delete_volume(VolumeId=volume_id)
                report.changed(f"data volume {volume_id} deleted")
            else:
                self._api.attach_volume(VolumeId=volume_id, InstanceId=target, Device=DATA_DEVICE)

    def _subnet(self, vpc: IPv4Network, subnet: IPv4Network) -> str:
        filters: list[FilterTypeDef] = [
            {"Name": "cidr-block", "Values": [str(subnet)]},
            {"Name": "tag:Lab", "Values": ["yes"]},
        ]
        if found := self._api.describe_subnets(Filters=filters)["Subnets"]:
            return found[0]["SubnetId"]
        # A subnet of the same range may exist in the default VPC of the API.
        marks: list[TagTypeDef] = [{"Key": "Lab", "Value": "yes"}]
        vpc_id = self._api.create_vpc(CidrBlock=str(vpc))["Vpc"]["VpcId"]
        made = self._api.create_subnet(
            VpcId=vpc_id,
            CidrBlock=str(subnet),
            AvailabilityZone=ZONE,
            TagSpecifications=[{"ResourceType": "subnet", "Tags": marks}],
        )
        return made["Subnet"]["SubnetId"]

    def _launch(self, subnet_id: str, instance: Instance) -> str:
        kind: InstanceTypeType = instance.instance_type  # type: ignore[assignment]  # any of hundreds
        made = self._api.run_instances(
            ImageId=_IMAGE_ID,
            InstanceType=kind,
            MinCount=1,
            MaxCount=1,
            # EC2's default, but not moto's: when the instance is gone, its interface and address are free
            # again.
            NetworkInterfaces=[
                {
                    "DeviceIndex": 0,
                    "SubnetId": subnet_id,
                    "PrivateIpAddress": str(instance.address),
                    "DeleteOnTermination": True,
                }
            ],
            TagSpecifications=[{"ResourceType": "instance", "Tags": _tag_list(instance.tags(*self._owner))}],
        )
        return made["Instances"][0]["InstanceId"]

    def _volumes(self) -> list[VolumeTypeDef]:
        pages = self._api.get_paginator("describe_volumes").paginate(Filters=self._of_environment())
        return [raw for page in pages for raw in page["Volumes"]]

    def _of_environment(self) -> list[FilterTypeDef]:
        project, environment = self._owner
        return [
            {"Name": "tag:Project", "Values": [project]},
            {"Name": "tag:Environment", "Values": [environment]},
        ]

    def _seed(self, number: int) -> None:
        url = urllib.parse.urljoin(self._api.meta.endpoint_url, f"/moto-api/seed?a={number}")
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5):
            pass


def _same(one: Instance, other: Instance) -> bool:
    return (one.name, one.role, one.address) == (other.name, other.role, other.address)


def _labels(raw: InstanceTypeDef | VolumeTypeDef) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw["Tags"]}


def _tag_list(labels: dict[str, str]) -> list[TagTypeDef]:
    return [{"Key": key, "Value": value} for key, value in labels.items()]
