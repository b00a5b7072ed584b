"""The policies grant what Terraform, the inventory and the backend call, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from tests.terraform.hcl import used_types

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "terraform" / "policy"
# IAM counts a managed policy's characters without white space.
POLICY_CHARACTERS = 6144

TAGS = "ec2:CreateTags ec2:DeleteTags"

# The API calls of each type over its life, from the provider's source and AWS's authorisation reference.
RESOURCE_ACTIONS = {
    "aws_default_security_group": f"""{TAGS} ec2:DescribeSecurityGroups
        ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress""",
    "aws_ebs_volume": f"""{TAGS} ec2:CreateVolume ec2:DeleteVolume ec2:DescribeVolumes
        ec2:DescribeVolumesModifications ec2:ModifyVolume""",
    "aws_eip": f"""{TAGS} ec2:AllocateAddress ec2:DescribeAddresses ec2:DescribeAddressesAttribute
        ec2:DisassociateAddress ec2:ReleaseAddress""",
    "aws_iam_instance_profile": """iam:AddRoleToInstanceProfile iam:CreateInstanceProfile
        iam:DeleteInstanceProfile iam:GetInstanceProfile iam:PassRole iam:RemoveRoleFromInstanceProfile
        iam:TagInstanceProfile iam:UntagInstanceProfile""",
    "aws_iam_role": """iam:CreateRole iam:DeleteRole iam:GetRole iam:ListAttachedRolePolicies
        iam:ListInstanceProfilesForRole iam:ListRolePolicies iam:TagRole iam:UntagRole
        iam:UpdateAssumeRolePolicy iam:UpdateRole iam:UpdateRoleDescription""",
    "aws_iam_role_policy_attachment": """iam:AttachRolePolicy iam:DetachRolePolicy
        iam:ListAttachedRolePolicies""",
    "aws_instance": f"""{TAGS} ec2:DescribeIamInstanceProfileAssociations ec2:DescribeImages
        ec2:DescribeInstanceAttribute ec2:DescribeInstanceCreditSpecifications ec2:DescribeInstanceTypes
        ec2:DescribeInstances ec2:DescribeNetworkInterfaces ec2:DescribeSecurityGroups ec2:DescribeSubnets
        ec2:DescribeTags ec2:DescribeVolumes ec2:ModifyInstanceAttribute ec2:ModifyInstanceMetadataOptions
        ec2:ModifyVolume ec2:RunInstances ec2:StartInstances ec2:StopInstances ec2:TerminateInstances
        iam:PassRole""",
    "aws_internet_gateway": f"""{TAGS} ec2:AttachInternetGateway ec2:CreateInternetGateway
        ec2:DeleteInternetGateway ec2:DescribeInternetGateways ec2:DetachInternetGateway""",
    "aws_nat_gateway": f"{TAGS} ec2:CreateNatGateway ec2:DeleteNatGateway ec2:DescribeNatGateways",
    "aws_route": "ec2:CreateRoute ec2:DeleteRoute ec2:DescribeRouteTables ec2:ReplaceRoute",
    "aws_route_table": f"{TAGS} ec2:CreateRouteTable ec2:DeleteRouteTable ec2:DescribeRouteTables",
    "aws_route_table_association": """ec2:AssociateRouteTable ec2:DescribeRouteTables
        ec2:DisassociateRouteTable ec2:ReplaceRouteTableAssociation""",
    "aws_security_group": f"""{TAGS} ec2:CreateSecurityGroup ec2:DeleteSecurityGroup
        ec2:DescribeNetworkInterfaces ec2:DescribeSecurityGroups ec2:RevokeSecurityGroupEgress""",
    "aws_subnet": f"""{TAGS} ec2:CreateSubnet ec2:DeleteSubnet ec2:DescribeNetworkInterfaces
        ec2:DescribeSubnets ec2:ModifySubnetAttribute""",
    "aws_volume_attachment": """ec2:AttachVolume ec2:DescribeInstances ec2:DescribeVolumes ec2:DetachVolume
        ec2:StopInstances""",
    "aws_vpc": f"""{TAGS} ec2:CreateVpc ec2:DeleteVpc ec2:DescribeNetworkAcls ec2:DescribeRouteTables
        ec2:DescribeSecurityGroups ec2:DescribeVpcAttribute ec2:DescribeVpcs ec2:ModifyVpcAttribute""",
    "aws_vpc_security_group_egress_rule": f"""{TAGS} ec2:AuthorizeSecurityGroupEgress
        ec2:DescribeSecurityGroupRules ec2:ModifySecurityGroupRules ec2:RevokeSecurityGroupEgress""",
    "aws_vpc_security_group_ingress_rule": f"""{TAGS} ec2:AuthorizeSecurityGroupIngress
        ec2:DescribeSecurityGroupRules ec2:ModifySecurityGroupRules ec2:RevokeSecurityGroupIngress""",
}

DATA_ACTIONS = {
    "aws_availability_zones": "ec2:DescribeAvailabilityZones",
    "aws_caller_identity": "",  # sts:GetCallerIdentity needs no permission
    "aws_ec2_instance_type_offerings": "ec2:DescribeInstanceTypeOfferings",
    "aws_region": "",  # asks nothing of AWS
    "aws_ssm_parameter": "ssm:GetParameter",
}

INVENTORY_ACTIONS = {"amazon.aws.aws_ec2": "ec2:DescribeInstances"}
HOST_KEY_ACTIONS = "ec2:GetConsoleOutput"  # terraform/known_hosts.py
# playbooks/secrets.yml: the lookup, then the module, which looks at what it made.
# docs/aws.md removes them in the end.
SECRET_ACTIONS = """ssm:GetParametersByPath ssm:GetParameter ssm:PutParameter ssm:DescribeParameters
    ssm:ListTagsForResource ssm:DeleteParameters"""
SESSION_ACTIONS = "ssm:StartSession ssm:ResumeSession ssm:TerminateSession ssmmessages:OpenDataChannel"
STATE_ACTIONS = "s3:ListBucket s3:GetObject s3:PutObject s3:DeleteObject"

# Permissions that are no API call of their own name.
NO_CALL = {"iam:PassRole", "s3:ListBucket", "ssmmessages:OpenDataChannel"}


def statements(policy: str) -> list[dict[str, Any]]:
    """The statements of one policy file."""
    document = json.loads((POLICIES / policy).read_text())
    assert document["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = document["Statement"]
    return found


def granted(policy: str) -> set[str]:
    """Every action that a policy grants."""
    return {action for statement in statements(policy) for action in statement["Action"]}


def actions(*texts: str) -> set[str]:
    """The actions in tables' texts."""
    return {action for text in texts for action in text.split()}


def test_the_tables_name_every_type_in_use() -> None:
    resources, data_sources = used_types(ROOT / "terraform")
    assert set(RESOURCE_ACTIONS) == resources
    assert set(DATA_ACTIONS) == data_sources


def test_the_deployer_may_do_what_terraform_does_and_no_more() -> None:
    assert granted("deploy.json") == actions(*RESOURCE_ACTIONS.values(), *DATA_ACTIONS.values())


def test_the_operator_may_read_inventory_and_host_keys_keep_secrets_and_open_sessions() -> None:
    plugin = yaml.safe_load((ROOT / "inventories/aws/aws_ec2.yml").read_text())["plugin"]
    assert granted("operate.json") == actions(
        INVENTORY_ACTIONS[plugin], HOST_KEY_ACTIONS, SECRET_ACTIONS, SESSION_ACTIONS
    )


def test_the_backend_may_do_what_it_does() -> None:
    assert granted("state.json") == actions(STATE_ACTIONS)


EVERY_STATEMENT = [
    pytest.param(statement, id=f"{file.stem}-{statement['Sid']}")
    for file in sorted(POLICIES.glob("*.json"))
    for statement in statements(file.name)
]


@pytest.mark.parametrize("statement", EVERY_STATEMENT)
def test_a_statement_is_narrow(statement: dict[str, Any]) -> None:
    assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == sorted(set(statement["Action"]))
    assert not [action for action in statement["Action"] if "*" in action]
    if statement["Resource"] == "*":
        assert all(action.startswith("ec2:Describe") for action in statement["Action"])


@pytest.mark.parametrize("statement", EVERY_STATEMENT)
def test_what_can_take_away_is_bound_to_the_project(statement: dict[str, Any]) -> None:
    destructive = (
        "Delete",
        "Terminate",
        "Stop",
        "Detach",
        "Release",
        "ModifyInstance",
        "ModifyVolume",
        "PassRole",
    )
    if any(action.partition(":")[2].startswith(destructive) for action in statement["Action"]):
        assert "gpu-token" in json.dumps([statement["Resource"], statement.get("Condition")]) or (
            "${aws:userid}" in statement["Resource"]
        )


@pytest.mark.parametrize("policy", ["deploy.json", "operate.json", "state.json"])
def test_actions_exist(policy: str) -> None:
    session = botocore.session.get_session()
    for action in granted(policy) - NO_CALL:
        service, _, call = action.partition(":")
        assert call in session.get_service_model(service).operation_names, f"{action} is no call of AWS's API"


@pytest.mark.parametrize("file", sorted(POLICIES.glob("*.json")), ids=lambda file: file.name)
def test_iam_takes_the_length(file: Path) -> None:
    assert len("".join(file.read_text().split())) <= POLICY_CHARACTERS


def test_the_policies_are_for_the_project_of_fleet_yml() -> None:
    project = yaml.safe_load((ROOT / "fleet.yml").read_text())["project"]
    text = (POLICIES / "deploy.json").read_text()
    assert f'"aws:ResourceTag/Project": "{project}"' in text
    assert f"role/{project}-*" in text
