"""Terraform's own verdict: validate, the mocked runs, and what it refuses.

The provider is the stand-in of conftest.py, so this needs terraform but neither AWS nor a registry.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hcl2.api import loads

from tests.terraform.conftest import Terraform
from tests.terraform.made import outcome, said

ROOT = Path(__file__).parents[2]


def test_the_configuration_is_valid(terraform: Terraform) -> None:
    done = terraform.run("validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr


def test_validate_reports_what_is_wrong(terraform: Terraform) -> None:
    """The stand-in is worth something only if it lets Terraform find faults."""
    (terraform.folder / "fault.tf").write_text(
        'resource "aws_ebs_volume" "x" {\n  sise = 1\n}\n'
        'resource "aws_iam_role" "x" {\n  assume_role_policy = "{}"\n  managed_policy_arns = []\n}\n'
    )
    said = terraform.run("validate", "-no-color")
    assert said.returncode == 1
    assert 'argument named "sise" is not expected here' in said.stderr
    assert '"availability_zone" is required' in said.stderr


def test_mocked_runs_pass(terraform: Terraform) -> None:
    done = terraform.run("test", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! \d+ passed, 0 failed\.", done.stdout), done.stdout


def refused_runs() -> list[tuple[str, str, str]]:
    """Name, variables and refused variable of each run in refused.tftest.hcl."""
    text = (ROOT / "terraform/tests/refused.tftest.hcl").read_text()
    runs = re.findall(
        r'run "(\w+)" \{\s+command += plan\s+expect_failures = \[var\.(\w+)\]\s+variables \{ (.+) \}\n\}',
        text,
    )
    assert len(runs) == len(loads(text)["run"])
    return [(name, variables, refused) for name, refused, variables in runs]


def test_each_refusal_is_one_sentence_with_name_value_and_remedy(terraform: Terraform) -> None:
    mock = 'mock_provider "aws" {\n  source = "./tests/mocks"\n}\n'
    given = {"ssh_key_name": 'ssh_key_name = "key"', "allowed_cidrs": 'allowed_cidrs = ["203.0.113.7/32"]'}
    cases = refused_runs()
    (terraform.folder / "cases").mkdir()
    for name, variables, _ in cases:
        body = "\n".join(
            [variables, *(text for key, text in given.items() if not variables.startswith(f"{key} "))]
        )
        (terraform.folder / "cases" / f"{name}.tftest.hcl").write_text(
            f'{mock}run "case" {{\n  command = plan\n  variables {{\n{body}\n  }}\n}}\n'
        )
    messages = terraform.test("-test-directory=cases")
    for name, _, variable in cases:
        errors = said(
            [message for message in messages if message.get("@testfile") == f"cases/{name}.tftest.hcl"]
        )
        sentences = {
            error.partition("This was checked by the validation rule")[0].strip() for error in errors
        }
        assert len(sentences) == 1, f"{name}: {errors}"
        sentence = sentences.pop()
        assert sentence.startswith(variable), f"{name}: {sentence}"
        assert ": " in sentence, f"{name}: no remedy in: {sentence}"
        assert sentence.endswith("."), f"{name}: {sentence}"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        pytest.param(
            'fleet_file = "tests/fixtures/dashed_role.yml"',
            'fleet.yml names the role ["kafka-broker"], which would be no plain group name for Ansible',
            id="role with a dash",
        ),
        pytest.param(
            'fleet_file = "tests/fixtures/unknown_role.yml"',
            'fleet.yml has a flow from ["archive"], which is no role and no network of outside',
            id="flow of an unknown role",
        ),
        pytest.param(
            'preferred_az = "us-east-1a"',
            "preferred_az is 'us-east-1a', which does not offer all of t3.micro, t3.small: "
            "choose one of us-east-1b, us-east-1c",
            id="zone without the types",
        ),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(terraform: Terraform, variables: str, sentence: str) -> None:
    errors = said(outcome(terraform, variables))
    assert any(sentence in error for error in errors), errors


def test_a_region_without_the_types_is_refused(terraform: Terraform) -> None:
    mocks = terraform.folder / "tests/mocks/aws.tfmock.hcl"
    mocks.write_text(re.sub(r"locations = \[.*\]", "locations = []", mocks.read_text()))
    errors = said(outcome(terraform, ""))
    assert any(
        "No zone of the region offers all of t3.micro, t3.small: choose" in error for error in errors
    ), errors
