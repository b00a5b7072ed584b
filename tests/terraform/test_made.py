"""The fleet that Terraform would make: machines, tags and flows equal to the lab's, and hardened.

The provider is the stand-in of conftest.py, so this needs terraform but neither AWS nor a registry.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from fleet.model import Fleet, load, parse
from fleet.rules import OPERATOR
from lab import ec2, firewall
from lab.settings import from_environment
from tests.terraform.conftest import Terraform, initialised
from tests.terraform.made import OPERATORS, TYPE, Resources, made, of_type

ROOT = Path(__file__).parents[2]
FLEET = load(ROOT / "fleet.yml")
ENVIRONMENT = "dev"

# Security group names and descriptions, and rules' descriptions, may contain only these characters.
GROUP_TEXT = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")


@pytest.fixture(scope="module")
def fleet(standin_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Resources:
    """The default fleet as it would be made."""
    return made(initialised(standin_environment, tmp_path_factory.mktemp("fleet")))


@pytest.mark.parametrize("page", ["README.md", "docs/aws.md"])
def test_a_page_says_what_a_first_plan_adds(fleet: Resources, page: str) -> None:
    """With one operator's network, as most have; the fleet here is made with two."""
    rules = of_type(fleet, "aws_vpc_security_group_ingress_rule")
    of_the_second = [rule for rule in rules if rule["cidr_ipv4"] == OPERATORS[1]]
    assert of_the_second
    added = len(fleet) - len(of_the_second)
    assert re.findall(r"(\d+) to add", (ROOT / page).read_text()) == [str(added)]


def test_machines_are_those_of_the_fleet(fleet: Resources) -> None:
    machines = {values["tags"]["Name"]: values for values in of_type(fleet, "aws_instance")}
    assert set(machines) == set(FLEET.machines())
    for name, role in FLEET.machines().items():
        assert machines[name]["instance_type"] == FLEET.roles[role].instance_type
        assert machines[name]["root_block_device"][0]["volume_size"] == FLEET.roles[role].root_disk_gib


def test_tags_are_those_that_the_lab_registers(fleet: Resources) -> None:
    for values in of_type(fleet, "aws_instance"):
        name = values["tags"]["Name"]
        role = FLEET.machines()[name]
        registered = ec2.Instance(name, role, IPv4Address("10.0.1.4"), values["instance_type"], True)
        assert values["tags"] == registered.tags(FLEET.project, ENVIRONMENT)


def test_flows_are_those_that_the_lab_enforces(fleet: Resources) -> None:
    assert aws_flows(fleet) == lab_flows(FLEET)


def test_brokers_reach_each_other_as_in_the_lab_once_there_are_several(
    fleet: Resources, terraform: Terraform
) -> None:
    data = yaml.safe_load((ROOT / "fleet.yml").read_text())
    data["roles"]["kafka"]["count"] = 3
    (terraform.folder / "three.yml").write_text(yaml.safe_dump(data))
    opened = aws_flows(made(terraform, 'fleet_file = "three.yml"'))
    assert opened == lab_flows(parse(data))
    assert opened - aws_flows(fleet) == {("kafka", "kafka", 9093), ("kafka", "kafka", 29092)}


def aws_flows(fleet: Resources) -> set[tuple[str, str, int]]:
    """(source role or operator, target role, TCP port) as the security groups open them."""
    groups = {values["id"]: values["tags"]["Role"] for values in of_type(fleet, "aws_security_group")}
    opened: set[tuple[str, str, int]] = set()
    for rule in of_type(fleet, "aws_vpc_security_group_ingress_rule"):
        assert rule["ip_protocol"] == "tcp"
        assert rule["from_port"] == rule["to_port"]
        if rule["cidr_ipv4"] is None:
            source = groups[rule["referenced_security_group_id"]]
        else:
            assert rule["cidr_ipv4"] in OPERATORS
            source = OPERATOR
        opened.add((source, groups[rule["security_group_id"]], rule["from_port"]))
    return opened


def lab_flows(fleet: Fleet) -> set[tuple[str, str, int]]:
    """The same, read from the rules that the lab's firewall puts in place."""
    machines = {
        name: (role, IPv4Address(f"10.0.1.{10 + number}"))
        for number, (name, role) in enumerate(fleet.machines().items())
    }
    roles = {str(address): role for role, address in machines.values()}
    rule = re.compile(
        r"(?:-s (?P<source>[\d.]+)/32 )?-d (?P<target>[\d.]+)/32 .*--dport (?P<port>\d+) -j RETURN"
    )
    matches = [
        rule.fullmatch(text)
        for chain in firewall.chains(from_environment({}, fleet), fleet, machines)
        for text in chain.rules
    ]
    return {
        (roles[match["source"]] if match["source"] else OPERATOR, roles[match["target"]], int(match["port"]))
        for match in matches
        if match
    }


def test_a_network_outside_is_let_in_as_in_the_lab(terraform: Terraform) -> None:
    networks = {"gpu_hosts": ["192.0.2.0/24", "192.0.2.0/24"], "gateways": ["198.18.0.7"]}
    data = yaml.safe_load((ROOT / "fleet.yml").read_text()) | {"outside": networks}
    (terraform.folder / "outside.yml").write_text(yaml.safe_dump(data))
    found = made(terraform, 'fleet_file = "outside.yml"')
    groups = {values["id"]: values["tags"]["Role"] for values in of_type(found, "aws_security_group")}
    opened = {
        (rule["cidr_ipv4"], groups[rule["security_group_id"]], rule["from_port"])
        for rule in of_type(found, "aws_vpc_security_group_ingress_rule")
        if rule["cidr_ipv4"] not in (None, *OPERATORS)
    }
    machines = {
        name: (role, IPv4Address(f"10.0.1.{10 + n}"))
        for n, (name, role) in enumerate(FLEET.machines().items())
    }
    roles = {str(address): role for role, address in machines.values()}
    rules = firewall.chains(from_environment({}, FLEET), parse(data), machines)[0].rules
    found_in_lab = [
        re.fullmatch(r"-s (\S+) -d ([\d.]+)/32 .*--dport (\d+) -j ACCEPT", rule) for rule in rules
    ]
    assert opened == {(match[1], roles[match[2]], int(match[3])) for match in found_in_lab if match}
    assert opened == {("192.0.2.0/24", "kafka", 9092), ("198.18.0.7/32", "producers", 8088)}


def test_each_machine_has_its_role_s_group_alone(fleet: Resources) -> None:
    groups = {values["tags"]["Role"]: values["id"] for values in of_type(fleet, "aws_security_group")}
    for values in of_type(fleet, "aws_instance"):
        assert values["vpc_security_group_ids"] == [groups[values["tags"]["Role"]]]


@pytest.mark.parametrize("role", list(FLEET.roles))
def test_every_role_has_exactly_one_way_out(fleet: Resources, role: str) -> None:
    groups = {values["tags"]["Role"]: values["id"] for values in of_type(fleet, "aws_security_group")}
    rules = [
        values
        for values in of_type(fleet, "aws_vpc_security_group_egress_rule")
        if values["security_group_id"] == groups[role]
    ]
    assert [(rule["ip_protocol"], rule["cidr_ipv4"]) for rule in rules] == [("-1", "0.0.0.0/0")]


def test_machines_are_hardened(fleet: Resources) -> None:
    for values in of_type(fleet, "aws_instance"):
        options = values["metadata_options"][0]
        assert options["http_tokens"] == "required"
        assert options["http_put_response_hop_limit"] == 1
        assert values["root_block_device"][0]["encrypted"]
        assert values["root_block_device"][0]["volume_type"] == "gp3"


def test_data_volumes_stand_apart_from_their_machines(fleet: Resources) -> None:
    wanted = {
        f"{name}-data": FLEET.roles[role].data_disk_gib
        for name, role in FLEET.machines().items()
        if FLEET.roles[role].data_disk_gib
    }
    volumes = of_type(fleet, "aws_ebs_volume")
    assert {values["tags"]["Name"]: values["size"] for values in volumes} == wanted
    assert all(values["encrypted"] and values["type"] == "gp3" for values in volumes)
    attachments = of_type(fleet, "aws_volume_attachment")
    assert {values["volume_id"] for values in attachments} == {values["id"] for values in volumes}


def test_data_volumes_are_those_that_the_lab_registers(fleet: Resources) -> None:
    volumes = {values["id"]: values for values in of_type(fleet, "aws_ebs_volume")}
    machines = {values["id"]: values["tags"]["Name"] for values in of_type(fleet, "aws_instance")}
    for attachment in of_type(fleet, "aws_volume_attachment"):
        machine, volume = machines[attachment["instance_id"]], volumes[attachment["volume_id"]]
        role = FLEET.machines()[machine]
        registered = ec2.DataVolume(machine, role, volume["size"])
        assert volume["tags"] == registered.tags(FLEET.project, ENVIRONMENT)
        assert attachment["device_name"] == ec2.DATA_DEVICE


def test_everything_that_can_be_tagged_is_found_by_its_tags(fleet: Resources) -> None:
    for address, values in fleet.items():
        if "tags" in values:
            assert values["tags"]["Project"] == FLEET.project, address
            assert values["tags"]["Environment"] == ENVIRONMENT, address
            assert values["tags"]["Name"], address


def test_texts_use_the_characters_that_ec2_takes(fleet: Resources) -> None:
    for address, values in fleet.items():
        if "security_group" in values[TYPE]:
            for key in ("name", "description"):
                text = values.get(key) or "-"
                assert GROUP_TEXT.fullmatch(text), f"{address}: EC2 refuses {key} '{text}'"


def test_a_private_fleet_has_no_public_addresses(terraform: Terraform) -> None:
    found = made(terraform, "public_subnet = false")
    nat = [values["id"] for values in of_type(found, "aws_nat_gateway")]
    assert len(nat) == 1
    assert not any(values["map_public_ip_on_launch"] for values in of_type(found, "aws_subnet"))
    out = found["module.network.aws_route.out"]
    assert (out["gateway_id"] or None, out["nat_gateway_id"]) == (None, nat[0])


def test_a_public_fleet_pays_for_no_gateway(fleet: Resources) -> None:
    assert not of_type(fleet, "aws_nat_gateway")
    assert not of_type(fleet, "aws_eip")
    assert [values["map_public_ip_on_launch"] for values in of_type(fleet, "aws_subnet")] == [True]
