"""A lab environment of the tests' own, driven by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from testing import aws

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import VolumeTypeDef

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "LAB_NAME": "selftest",
    "LAB_SUBNET": "10.0.3.0/24",
    "LAB_EC2_PORT": "15200",
    "LAB_REGISTRY_PORT": "15201",
    # No service runs on these machines, so none of their images has to be built.
    "LAB_IMAGES": "official",
}

# A bare machine has no file system on its data disk yet.
WRITE_DATA = "echo {text} | tee /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol* >/dev/null"
READ_DATA = "head -n 1 /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*"


class Lab:
    """The command ``lab`` with a fleet file that a test may change."""

    def __init__(self, fleet_file: Path, prefix: Sequence[str] = ()) -> None:
        self.fleet_file = fleet_file
        self.prefix = prefix
        self.environ = os.environ | ENVIRONMENT | {"LAB_FLEET": str(fleet_file)}
        self.state = ROOT / ".lab" / ENVIRONMENT["LAB_NAME"]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run ``lab``; output and errors come as one text."""
        return subprocess.run(
            [*self.prefix, str(Path(sys.executable).parent / "lab"), *arguments],
            env=self.environ | environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def on(self, machine: str, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root on a machine."""
        return self.run("exec", machine, "--", "sudo", "sh", "-c", script)

    def change_fleet(self, **roles: dict[str, Any]) -> None:
        """Change keys of roles in the fleet file."""
        fleet = yaml.safe_load(self.fleet_file.read_text())
        for role, keys in roles.items():
            fleet["roles"][role] |= keys
        self.fleet_file.write_text(yaml.safe_dump(fleet))

    def running_instances(self) -> dict[str, tuple[str, str]]:
        """Name -> (id, private address) of what the EC2 API calls running."""
        found = self._ec2().describe_instances(
            Filters=[{"Name": "instance-state-name", "Values": ["running"]}]
        )
        return {
            tag["Value"]: (machine["InstanceId"], machine["PrivateIpAddress"])
            for reservation in found["Reservations"]
            for machine in reservation["Instances"]
            for tag in machine["Tags"]
            if tag["Key"] == "Name"
        }

    def data_volume(self, machine: str) -> VolumeTypeDef:
        """The volume that the EC2 API has attached to a machine beside its own disk."""
        (volume,) = self._ec2().describe_volumes(
            Filters=[
                {"Name": "attachment.instance-id", "Values": [self.running_instances()[machine][0]]},
                {"Name": "attachment.device", "Values": ["/dev/sdf"]},
            ]
        )["Volumes"]
        return volume

    @staticmethod
    def _ec2() -> EC2Client:
        return aws.client("ec2", f"http://127.0.0.1:{ENVIRONMENT['LAB_EC2_PORT']}")


def docker(*arguments: str) -> str:
    """The output of a docker command that must succeed."""
    return subprocess.run(["docker", *arguments], text=True, capture_output=True, check=True).stdout.strip()


def container(machine: str) -> str:
    """The name of a machine's container."""
    return f"gpu-token-{ENVIRONMENT['LAB_NAME']}-{machine}"


def machine_image() -> str:
    """The image that the machines are made of."""
    return str(json.loads(docker("inspect", container("kafka-1")))[0]["Config"]["Image"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An environment with three roles that is up, and taken down at the end."""
    lab = Lab(fleet_of_three_roles(tmp_path_factory.mktemp("fleet")))
    lab.run("down")
    try:
        lab.ok("up")
        yield lab
    finally:
        lab.run("down")


def fleet_of_three_roles(folder: Path) -> Path:
    """A fleet file without mongo, with a small processor and two producers."""
    fleet = yaml.safe_load((ROOT / "fleet.yml").read_text())
    del fleet["roles"]["mongo"]
    fleet["roles"]["processor"]["memory_mib"] = 512
    fleet["roles"]["producers"]["count"] = 2
    fleet["flows"] = [flow for flow in fleet["flows"] if flow["to"] != "mongo"]
    path = folder / "fleet.yml"
    path.write_text(yaml.safe_dump(fleet))
    return path
