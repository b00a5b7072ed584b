"""The two inventories against an EC2 API of the test's own: groups, names, addresses, and their likeness."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.server import ThreadedMotoServer

from lab import ec2
from lab.report import Report
from testing import aws

ROOT = Path(__file__).parents[2]
LAB = ROOT / "inventories/lab/aws_ec2.yml"
AWS = ROOT / "inventories/aws/aws_ec2.yml"
PROJECT: str = yaml.safe_load((ROOT / "fleet.yml").read_text())["project"]
PRIVATE_IPS = {"kafka": "10.0.1.10", "mongo": "10.0.1.20", "processor": "10.0.1.30", "producers": "10.0.1.40"}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def ec2_port() -> Iterator[int]:
    """An EC2 API that knows one fleet, a stopped machine, a nameless one and strangers; yields its port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    api = aws.client("ec2", f"http://127.0.0.1:{port}")
    vpc_id = api.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet_id = api.create_subnet(VpcId=vpc_id, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]

    def run(ip: str, tags: Mapping[str, str], public: bool = False) -> str:
        """Start an instance; returns its id."""
        instance = api.run_instances(
            ImageId="ami-12c6146b",
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[
                {
                    "DeviceIndex": 0,
                    "SubnetId": subnet_id,
                    "PrivateIpAddress": ip,
                    "AssociatePublicIpAddress": public,
                }
            ],
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )["Instances"][0]
        return instance["InstanceId"]

    for environment in ("lab", "molecule", "dev", "changed"):
        common = {"Project": PROJECT, "Environment": environment}
        for role, ip in PRIVATE_IPS.items():
            address = ip if environment == "lab" else f"{ip[:-1]}{len(environment)}"
            tags = {**common, "Role": role, "Name": f"{role}-1"}
            if environment == "changed" and role == "producers":
                tags |= {"Role": "processor", "Name": "processor-2"}
            run(address, tags, public=environment == "dev")
    stopped = run("10.0.1.50", {"Project": PROJECT, "Environment": "lab", "Role": "kafka", "Name": "kafka-9"})
    api.stop_instances(InstanceIds=[stopped])
    run("10.0.1.60", {"Project": "another", "Environment": "lab", "Role": "kafka", "Name": "stranger-1"})
    run("10.0.1.70", {"Project": PROJECT, "Environment": "nameless", "Role": "kafka"})
    yield port
    server.stop()


def ansible(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's commands with these environment variables, and none of the user's own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "LAB_"))}
    return subprocess.run(
        command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False
    )


def inventory(name: str, *options: str, **variables: str) -> dict[str, Any]:
    """What `ansible-inventory --list` makes of an inventory."""
    done = ansible("ansible-inventory", "-i", f"inventories/{name}", "--list", *options, **variables)
    assert done.returncode == 0, done.stderr
    listing: dict[str, Any] = json.loads(done.stdout)
    return listing


def addresses(listing: Mapping[str, Any]) -> dict[str, str]:
    """The address of each host."""
    return {host: str(plain(values["ansible_host"])) for host, values in listing["_meta"]["hostvars"].items()}


def plain(value: Any) -> Any:
    """A value without the wrapper that marks text from outside as not to be templated."""
    return value["__ansible_unsafe"] if isinstance(value, dict) else value


def test_inventories_differ_in_which_fleet_they_ask_for_alone() -> None:
    lab, aws = (yaml.safe_load(path.read_text()) for path in (LAB, AWS))
    for key in ("endpoint_url", "access_key", "secret_key", "profile"):
        assert key in lab
        assert key not in aws
        del lab[key]
    lab["filters"].pop("tag:Environment")
    aws["filters"].pop("tag:Environment")
    assert lab == aws


def test_project_filter_is_the_fleets() -> None:
    assert yaml.safe_load(AWS.read_text())["filters"]["tag:Project"] == PROJECT


def test_lab_has_the_running_machines_in_groups_named_as_the_roles(ec2_port: int) -> None:
    listing = inventory("lab", LAB_EC2_PORT=str(ec2_port))
    groups = {group: values["hosts"] for group, values in listing.items() if "hosts" in values}
    groups.pop("aws_ec2")
    assert groups == {role: [f"{role}-1"] for role in PRIVATE_IPS}
    assert addresses(listing) == {f"{role}-1": ip for role, ip in PRIVATE_IPS.items()}


def test_lab_is_chosen_by_its_name(ec2_port: int) -> None:
    listing = inventory("lab", LAB_EC2_PORT=str(ec2_port), LAB_NAME="molecule")
    assert addresses(listing)["kafka-1"] == "10.0.1.18"


def test_lab_does_not_use_the_users_profile(ec2_port: int, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile mine]\nregion = eu-west-1\naws_access_key_id = mine\n")
    listing = inventory(
        "lab",
        LAB_EC2_PORT=str(ec2_port),
        AWS_CONFIG_FILE=str(config),
        AWS_PROFILE="mine",
        AWS_REGION="eu-west-1",
        AWS_SESSION_TOKEN="mine",
    )
    assert sorted(addresses(listing)) == sorted(f"{role}-1" for role in PRIVATE_IPS)


def test_machine_without_a_name_is_called_by_its_id(ec2_port: int) -> None:
    listing = inventory("lab", LAB_EC2_PORT=str(ec2_port), LAB_NAME="nameless")
    (host,) = listing["kafka"]["hosts"]
    assert host.startswith("i-")


@pytest.mark.parametrize("connect_by", ["private", "public", "ssm", None])
def test_aws_address_is_a_variable(ec2_port: int, connect_by: str | None) -> None:
    options = ["-e", f"connect_by={connect_by}"] if connect_by else []
    url = f"http://127.0.0.1:{ec2_port}"
    variables = inventory("aws", *options, AWS_URL=url, **CREDENTIALS)["_meta"]["hostvars"]["kafka-1"]
    wanted = {
        "private": "ec2_private_ip_address",
        "public": "ec2_public_ip_address",
        "ssm": "ec2_instance_id",
    }
    assert plain(variables["ansible_host"]) == plain(variables[wanted[connect_by or "public"]])


def test_machine_without_a_public_address_is_reached_by_its_private_one(ec2_port: int) -> None:
    url = f"http://127.0.0.1:{ec2_port}"
    variables = {"AWS_URL": url, "FLEET_ENVIRONMENT": "lab", **CREDENTIALS}
    assert addresses(inventory("aws", "-e", "connect_by=public", **variables))["mongo-1"] == "10.0.1.20"


def test_aws_groups_are_named_as_the_roles(ec2_port: int) -> None:
    listing = inventory("aws", AWS_URL=f"http://127.0.0.1:{ec2_port}", **CREDENTIALS)
    assert set(listing) - {"_meta", "all", "aws_ec2"} == set(PRIVATE_IPS)


def test_session_manager_is_the_way_where_the_address_is_an_instance_id(ec2_port: int) -> None:
    command = ["ansible", "kafka-1", "-i", "inventories/aws", "-m", "ansible.builtin.debug"]
    arguments = ["-a", "var=ansible_ssh_common_args"]
    variables = {"AWS_URL": f"http://127.0.0.1:{ec2_port}", **CREDENTIALS}
    session = ansible(*command, *arguments, "-e", "connect_by=ssm", **variables)
    assert "aws ssm start-session --region us-east-1 --target %h" in " ".join(session.stdout.split())
    direct = ansible(*command, *arguments, **variables)
    assert direct.returncode == 0
    assert "ProxyCommand" not in direct.stdout
    assert "IdentitiesOnly" not in direct.stdout


def test_a_key_that_is_named_is_the_only_one_offered(ec2_port: int) -> None:
    """A hardened machine ends the connection after four others of the agent's."""
    command = ["ansible", "kafka-1", "-i", "inventories/aws", "-m", "ansible.builtin.debug"]
    variables = {"AWS_URL": f"http://127.0.0.1:{ec2_port}", "FLEET_SSH_KEY": "/keys/one", **CREDENTIALS}
    direct = ansible(*command, "-a", "var=ansible_ssh_common_args", **variables)
    assert "-o IdentitiesOnly=yes" in direct.stdout


def test_an_unknown_way_to_connect_is_refused(ec2_port: int) -> None:
    done = ansible(
        *["ansible-inventory", "-i", "inventories/aws", "--list", "-e", "connect_by=vpn"],
        AWS_URL=f"http://127.0.0.1:{ec2_port}",
        **CREDENTIALS,
    )
    assert done.returncode != 0
    assert "connect_by is vpn; set it to private, public or ssm." in done.stderr


EVERY_MACHINE = ", ".join(f"{role}-1" for role in PRIVATE_IPS)


def site(ec2_port: int, environment: str, *options: str) -> tuple[int, str]:
    """Exit status and output of site.yml, which ends at the secrets at the latest."""
    command = ["ansible-playbook", "-i", "inventories/lab", "site.yml", "-e", "secrets_store=none", *options]
    done = ansible(*command, LAB_EC2_PORT=str(ec2_port), LAB_NAME=environment)
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("environment", "missing"),
    [("nameless", EVERY_MACHINE), ("nothing", EVERY_MACHINE), ("changed", "producers-1")],
)
def test_machines_that_do_not_run_stop_the_play(ec2_port: int, environment: str, missing: str) -> None:
    status, said = site(ec2_port, environment)
    assert status != 0
    assert f"fleet.yml counts {missing}, and no machine of that name is running: start it (lab up;" in said
    assert "PLAY [Secrets]" not in said


def test_a_limited_run_names_machines_that_do_not_run_or_are_not_counted_and_goes_on(ec2_port: int) -> None:
    _, said = site(ec2_port, "changed", "--limit", "kafka-1")
    assert "fleet.yml counts producers-1, and no machine of that name is running" in said
    assert "Not in fleet.yml: processor-2." in said
    assert "PLAY [Secrets]" in said


@pytest.mark.parametrize("playbook", ["verify", "health"])
def test_where_nothing_runs_nothing_is_well(ec2_port: int, playbook: str, tmp_path: Path) -> None:
    command = ["ansible-playbook", "-i", "inventories/lab", f"playbooks/{playbook}.yml"]
    variables = {"LAB_EC2_PORT": str(ec2_port), "LAB_NAME": "nothing"}
    done = ansible(*command, "-e", f"build_dir={tmp_path}", **variables)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert all(f"{role}-1" in said for role in PRIVATE_IPS)
    assert "and no machine of that name is running" in said
    if playbook == "verify":
        assert json.loads((tmp_path / "verify.json").read_text())["passed"] is False


def test_a_fleet_of_which_each_machine_runs_is_not_refused(ec2_port: int) -> None:
    _, said = site(ec2_port, "lab")
    assert "Every machine of fleet.yml runs." in said
    assert "PLAY [Secrets]" in said


def test_a_catalogue_with_a_mistake_stops_the_play(ec2_port: int, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yml"
    catalog.write_text("prices: [{selector: {gpu_name: H100}, usd_per_hour: -1}]")
    status, said = site(ec2_port, "lab", "-e", f"processor_catalog={catalog}")
    assert status != 0
    assert f"{catalog}: prices, row 1 (gpu_name H100): usd_per_hour is -1: give a number from 0" in said
    assert "PLAY [Secrets]" not in said


def test_data_volume_is_the_one_that_is_attached_beside_the_machines_own_disk(ec2_port: int) -> None:
    url = f"http://127.0.0.1:{ec2_port}"
    api = aws.client("ec2", url)
    disk = ec2.DataVolume("kafka-1", "kafka", 20)
    registrations = ec2.Registrations(api, PROJECT, "lab")
    registrations.attach_volumes([disk], Report())
    volume_id = registrations.ensure_volume(disk, Report())
    for listing in (
        inventory("lab", LAB_EC2_PORT=str(ec2_port)),
        inventory("aws", AWS_URL=url, FLEET_ENVIRONMENT="lab", **CREDENTIALS),
    ):
        ids = {host: plain(of["data_volume_id"]) for host, of in listing["_meta"]["hostvars"].items()}
        assert ids == {"kafka-1": volume_id, "mongo-1": "", "processor-1": "", "producers-1": ""}


def test_api_that_does_not_answer_stops_the_run() -> None:
    done = ansible("ansible-inventory", "-i", "inventories/lab", "--list", LAB_EC2_PORT="1")
    assert done.returncode != 0
    assert "http://127.0.0.1:1" in done.stderr


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A copy of the inventories, each with the example of GPU hosts beside the fleet's machines."""
    shutil.copytree(ROOT / "inventories", tmp_path / "inventories", symlinks=True)
    for name in ("fleet.yml", "fleet/instance_memory_mib.yml", "catalog.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("lab", "aws"):
        shutil.copy(
            ROOT / "inventories/gpu_hosts.example.yml", tmp_path / f"inventories/{name}/gpu_hosts.yml"
        )
    return tmp_path / "inventories"


def test_gpu_hosts_are_producers_after_those_of_the_fleet(ec2_port: int, beside: Path) -> None:
    done = ansible(
        *["ansible", "producers", "-i", str(beside / "aws"), "--list-hosts"],
        AWS_URL=f"http://127.0.0.1:{ec2_port}",
        **CREDENTIALS,
    )
    assert [line.strip() for line in done.stdout.splitlines()[1:]] == ["producers-1", "gpu-a", "gpu-b"]


def test_a_gpu_host_has_its_own_user_and_the_fleets_brokers(ec2_port: int, beside: Path) -> None:
    wanted = {
        "producers_kafka_username": "gpu-gpu-a",
        "producers_kafka_password": "x" * 32,
        "producers_kafka_bootstrap": f"{PRIVATE_IPS['kafka'][:-1]}3:9092",
        "producers_base_image": "python:3.13-slim",
        "producers_sources": "[]",
        "docker_managed": "False",
        "secrets_path": f"/{PROJECT}/dev",
        "ansible_user": "ubuntu",
    }
    secrets = {"fleet_secrets": {"kafka_gpu_host_gpu-a_password": "x" * 32}}
    done = ansible(
        *[
            "ansible",
            "gpu-a",
            "-i",
            str(beside / "aws"),
            "-m",
            "ansible.builtin.debug",
            "-e",
            json.dumps(secrets),
        ],
        *["-a", "msg=" + "|".join(f"{{{{ {name} }}}}" for name in wanted)],
        AWS_URL=f"http://127.0.0.1:{ec2_port}",
        **CREDENTIALS,
    )
    assert "|".join(wanted.values()) in done.stdout, done.stdout + done.stderr


def test_a_gpu_host_is_no_machine_too_many_and_is_not_hardened(ec2_port: int, beside: Path) -> None:
    command = ["ansible-playbook", "-i", str(beside / "lab"), "site.yml"]
    variables = {"LAB_EC2_PORT": str(ec2_port), "LAB_NAME": "lab"}
    done = ansible(*command, "--list-hosts", **variables)
    plays = {play.split("\n")[0]: play for play in done.stdout.split("\n  play #")}
    reached = {
        title.split("(")[-1].split(")")[0]: "gpu-a" in play for title, play in plays.items() if ":" in title
    }
    assert reached.pop("all:!gpu_hosts") is False
    assert reached.pop("producers") is True
    assert reached["all"] is True
    assert {hosts: there for hosts, there in reached.items() if hosts in ("kafka", "mongo", "processor")} == {
        "kafka": False,
        "mongo": False,
        "processor": False,
    }
    said = ansible(*command, "-e", "secrets_store=none", **variables).stdout
    assert "Every machine of fleet.yml runs." in said
    assert "Not in fleet.yml" not in said
