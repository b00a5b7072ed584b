"""What an apply would make, as `terraform test` with a mocked provider reports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.terraform.conftest import Terraform

OPERATORS = ["198.51.100.0/24", "203.0.113.7/32"]

MADE = """
mock_provider "aws" {
  source = "./tests/mocks"
}

run "case" {
  variables {
    ssh_key_name  = "key"
    allowed_cidrs = ["198.51.100.0/24", "203.0.113.7/32"]
    %s
  }
}
"""

TYPE = "(resource type)"  # no attribute can have this name

Resources = dict[str, dict[str, Any]]


def outcome(terraform: Terraform, variables: str) -> list[dict[str, Any]]:
    """The messages of an apply with these further variables."""
    (terraform.folder / "tests" / "case.tftest.hcl").write_text(MADE % variables)
    return terraform.test("-verbose", "-filter=tests/case.tftest.hcl")


def made(terraform: Terraform, variables: str = "") -> Resources:
    """What an apply with these further variables would make: values by address."""
    messages = outcome(terraform, variables)
    state = next((message["test_state"] for message in messages if message["type"] == "test_state"), None)
    assert state is not None, "\n".join(said(messages))
    return dict(resources(state["root_module"]))


def resources(module: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The managed resources of a module and of those below it."""
    for resource in module.get("resources", []):
        if resource["mode"] == "managed":
            yield resource["address"], resource["values"] | {TYPE: resource["type"]}
    for child in module.get("child_modules", []):
        yield from resources(child)


def of_type(found: Resources, type_name: str) -> list[dict[str, Any]]:
    """The values of every resource of one type."""
    return [values for values in found.values() if values[TYPE] == type_name]


def said(messages: list[dict[str, Any]]) -> list[str]:
    """The text of every error."""
    return [
        " ".join(message["diagnostic"]["detail"].split())
        for message in messages
        if message["type"] == "diagnostic" and message["diagnostic"]["severity"] == "error"
    ]
