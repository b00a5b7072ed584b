"""What Terraform accepts and this project does not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hcl2.api import loads

from tests.terraform.conftest import NO_TERRAFORM
from tests.terraform.hcl import Part, files, named_blocks, parse, parts

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
MODULES = [TERRAFORM, *sorted((TERRAFORM / "modules").iterdir())]
PARTS = [part for file in files(TERRAFORM) for part in parts(file)]


def is_sentence(text: str) -> bool:
    """A capital or a code word first, a full stop or a question mark last."""
    return re.fullmatch(r"[\w~].*[.?]\"?", text.strip('"'), re.DOTALL) is not None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_variables_are_typed_and_described(module: Path) -> None:
    for name, variable in named_blocks(module, "variable").items():
        assert "type" in variable, f"{module.name}: variable {name} has no type"
        assert is_sentence(variable.get("description", "")), (
            f"{module.name}: describe variable {name} in a sentence"
        )
        assert "nullable" in variable or variable.get("default", "") in (None, "null"), (
            f"{module.name}: variable {name} takes null, for which it has no use: nullable = false"
        )


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_outputs_are_described(module: Path) -> None:
    outputs = named_blocks(module, "output")
    assert outputs
    for name, output in outputs.items():
        assert is_sentence(output.get("description", "")), (
            f"{module.name}: describe output {name} in a sentence"
        )


def test_variables_of_the_user_are_validated() -> None:
    for name, variable in named_blocks(TERRAFORM, "variable").items():
        if "bool" in variable["type"]:
            continue  # Terraform refuses anything but true and false by itself
        assert variable.get("validation"), f"variable {name} has no validation"


def test_all_is_tagged_in_the_call_that_makes_it() -> None:
    """Else a root disk is tagged by a later call, which the policy denies for what has no tags yet."""
    [provider] = [part for part in PARTS if part.kind == "provider"]
    assert provider.body["default_tags"] == [{"tags": "${local.tags}"}]


def test_the_outputs_that_others_rely_on_are_there() -> None:
    relied_on = {
        "account_id", "arn", "region", "vpc_id", "subnet_id", "security_groups",
        "instance_private_ips", "instance_public_ips",
    }  # fmt: skip
    assert relied_on <= set(named_blocks(TERRAFORM, "output"))


def example_variables() -> tuple[set[str], set[str]]:
    """The variables that terraform.tfvars.example sets, and those that it shows in comments."""
    text = (TERRAFORM / "terraform.tfvars.example").read_text()
    shown = re.sub(r"^# (?=\w+ +=)", "", text, flags=re.MULTILINE)
    return set(loads(text)), set(loads(shown))


def test_the_example_sets_what_is_required_and_nothing_that_does_not_exist() -> None:
    variables = named_blocks(TERRAFORM, "variable")
    required = {name for name, variable in variables.items() if "default" not in variable}
    set_, shown = example_variables()
    # The operator's address is found. One in the example would open the fleet to nobody, once it is paid for.
    assert set_ == required - {"allowed_cidrs"}
    assert shown <= set(variables)


def test_the_example_shows_the_defaults() -> None:
    text = re.sub(
        r"^# (?=\w+ +=)", "", (TERRAFORM / "terraform.tfvars.example").read_text(), flags=re.MULTILINE
    )
    variables = named_blocks(TERRAFORM, "variable")
    for name, value in loads(text).items():
        if "default" in variables[name]:
            assert value == variables[name]["default"], f"terraform.tfvars.example: {name} is not the default"


def test_the_example_backend_locks_without_a_table() -> None:
    backend = loads((TERRAFORM / "backend.tf.example").read_text())["terraform"][0]["backend"][0]
    settings: dict[str, Any] = next(iter(backend.values()))
    assert settings["use_lockfile"] is True
    assert settings["encrypt"] is True
    assert "dynamodb_table" not in settings


def test_rules_stand_on_their_own() -> None:
    for part in PARTS:
        if part.type in ("aws_security_group", "aws_default_security_group"):
            assert not {"ingress", "egress"} & set(part.body), f"{part.address}: no inline rules"
        if part.type == "aws_route_table":
            assert "route" not in part.body, f"{part.address}: no inline routes"


def body_of(type_name: str) -> dict[str, Any]:
    """The only block of a type."""
    [part] = [part for part in PARTS if part.type == type_name]
    return part.body


def test_a_newer_image_or_zone_is_ignored() -> None:
    assert body_of("aws_instance")["lifecycle"][0]["ignore_changes"] == ["${ami}"]
    [subnet] = [part for part in PARTS if part.type == "aws_subnet" and part.name == "machines"]
    assert subnet.body["lifecycle"][0]["ignore_changes"] == ["${availability_zone}"]


def test_machines_are_bare() -> None:
    assert not [key for key in body_of("aws_instance") if key.startswith("user_data")]


def test_nothing_is_keyed_by_number() -> None:
    """A count that follows a list moves everything behind the entry that is taken out."""
    counted = [part for part in PARTS if "count" in part.body]
    assert {part.body["count"] for part in counted} == {"${var.public_subnet ? 0 : 1}"}


def test_no_file_holds_an_account_or_a_secret() -> None:
    others = {".terraform", "__pycache__"}
    for file in (file for file in TERRAFORM.rglob("*") if file.is_file() and not others & set(file.parts)):
        text = file.read_text()
        assert not re.search(r"\bA(KIA|SIA)[0-9A-Z]{16}\b", text), file
        assert not re.search(r"\b(?!111122223333)\d{12}\b", text), file


def test_every_module_pins_terraform_and_the_provider_alike() -> None:
    pins = [parse(module / "versions.tf")["terraform"][0] for module in MODULES]
    assert all(pin == pins[0] for pin in pins)
    assert "required_version" in pins[0]
    assert "version" in str(pins[0]["required_providers"])


def test_files_are_formatted() -> None:
    if shutil.which("terraform") is None:
        pytest.skip(NO_TERRAFORM)
    done = subprocess.run(
        ["terraform", f"-chdir={TERRAFORM}", "fmt", "-check", "-recursive", "-diff", "-no-color"],
        env={"PATH": str(Path(shutil.which("terraform") or "").parent), "TF_CLI_CONFIG_FILE": "/dev/null"},
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"run terraform fmt -recursive terraform\n{done.stdout}{done.stderr}"


def test_parts_are_found() -> None:
    """The tests above mean something only if there are parts to judge."""
    assert {part.kind for part in PARTS} == {"resource", "data", "provider"}
    assert isinstance(PARTS[0], Part)
