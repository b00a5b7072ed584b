"""The make verbs: each is the command that it says, for the lab and for AWS, and `make` lists them all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
# Every target that `make` lists, with a machine or a role for its %.
STEMS = {
    "ssh-%": "ssh-kafka-1",
    "replace-%": "replace-kafka-1",
    "exec-%": "exec-mongo-1",
    "logs-%": "logs-kafka-1",
}
STEMS |= {"verify-%": "verify-processor", "molecule-%": "molecule-kafka"}
TARGETS = re.findall(r"^([a-z0-9%-]+):.*## ", MAKEFILE, re.MULTILINE)
# What needs a machine of the inventory, so that it must ask the one that ENV names.
ON_MACHINES = ("ansible", "ansible-playbook")


def make(*arguments: str, **variables: str) -> str:
    """What make prints."""
    named = ("ENV", "LIMIT", "TAGS", "ARGS", "TRACE", "CMD", "MAKEFLAGS", "MAKELEVEL", "FLEET_SSH_KEY")
    clean = {name: value for name, value in os.environ.items() if name not in named}
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=clean | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(verb: str, **variables: str) -> list[str]:
    """The commands that a verb would run; the tools' set-up and the call of make itself are left out."""
    settings = [f"{name}={value}" for name, value in variables.items()]
    lines = [" ".join(line.split()) for line in make("--dry-run", verb, *settings).splitlines()]
    return [line for line in lines if not re.match(r"scripts/setup\.sh |make converge ", line)]


@pytest.mark.parametrize("env", ["lab", "aws"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_files_that_exist_against_its_own_environment(env: str, target: str) -> None:
    other = {"lab": "aws", "aws": "lab"}[env]
    for command in commands(STEMS.get(target, target), ENV=env):
        words = command.split()
        for word in words:
            if re.fullmatch(r"(scripts|playbooks|terraform)/[\w/.]+\.(sh|yml|py)|site\.yml", word):
                assert (ROOT / word).is_file(), command
            if word.endswith(".sh"):
                assert os.access(ROOT / word, os.X_OK), command
        assert f"inventories/{other}" not in command
        if words[0] in ON_MACHINES and "localhost," not in words:
            assert f"inventories/{env}" in command


def test_deploy_makes_the_machines_first() -> None:
    assert commands("deploy") == ["lab up", "ansible-playbook -i inventories/lab site.yml"]
    on_aws = [command for verb in ("init", "plan", "apply", "known-hosts") for command in commands(verb)]
    assert len(on_aws) == 4
    assert commands("deploy", ENV="aws") == [*on_aws, "ansible-playbook -i inventories/aws site.yml"]


def test_down_takes_the_machines_of_its_environment() -> None:
    assert commands("down") == ["lab down"]
    assert commands("down", ENV="aws") == ["scripts/terraform.sh destroy"]
    assert commands("down", ENV="aws", YES="1") == ["scripts/terraform.sh destroy -auto-approve"]


def test_converge_is_narrowed_by_variables() -> None:
    wanted = (
        "ansible-playbook -i inventories/lab --limit processor-1 --tags processor_configure --diff site.yml"
    )
    assert commands("converge", LIMIT="processor-1", TAGS="processor_configure", ARGS="--diff") == [wanted]


def test_ssh_on_aws_takes_the_key() -> None:
    [command] = commands("ssh-kafka-1", ENV="aws", FLEET_SSH_KEY="/keys/one")
    assert command.startswith("ssh -o IdentitiesOnly=yes -i /keys/one ubuntu@")


@pytest.mark.parametrize(
    ("env", "given", "told"),
    [
        ("aws", {}, "[eu-west-1] [prod]"),
        ("aws", {"FLEET_REGION": "us-west-2"}, "[us-west-2] [prod]"),
        ("lab", {}, "[] []"),
    ],
)
def test_the_inventory_is_told_where_terraform_made_the_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: str, given: dict[str, str], told: str
) -> None:
    for name in ("FLEET_REGION", "FLEET_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    tfvars = tmp_path / "terraform.tfvars"
    tfvars.write_text('# aws_region = "us-east-1"\naws_region   = "eu-west-1" # near\nenvironment = "prod"\n')
    rule = '--eval=told: ; @echo "[$$FLEET_REGION] [$$FLEET_ENVIRONMENT]"'
    assert make(rule, "told", f"ENV={env}", f"TFVARS={tfvars}", **given) == told + "\n"


def test_machines_without_public_addresses_are_reached_through_sessions() -> None:
    for verb in ("converge", "verify", "drift", "exec-kafka-1", "logs-kafka-1", "api-token", "addrs"):
        assert "-e connect_by=ssm" in " ".join(commands(verb, ENV="aws", CONNECT="ssm")), verb
        assert "connect_by" not in " ".join(commands(verb, ENV="aws")), verb
    [shell] = commands("ssh-kafka-1", ENV="aws", CONNECT="ssm")
    assert shell.startswith("aws ssm start-session $(ansible-inventory -i inventories/aws --host kafka-1 ")
    [tunnel] = commands("tunnel", ENV="aws")
    assert tunnel.endswith("--parameters portNumber=8080,localPortNumber=8080")


def test_a_machine_is_replaced_by_its_name() -> None:
    assert commands("replace-kafka-1") == ["lab replace kafka-1"]
    wanted = "scripts/terraform.sh apply -replace='module.instances.aws_instance.machine[\"kafka-1\"]'"
    assert commands("replace-kafka-1", ENV="aws") == [wanted]


def test_python_keeps_what_it_compiles() -> None:
    rule = '--eval=told: ; @echo "[$$PYTHONDONTWRITEBYTECODE]"'
    assert make(rule, "told", PYTHONDONTWRITEBYTECODE="1") == "[]\n"


def test_make_alone_lists_every_target_in_its_group() -> None:
    listing = make()
    groups = re.split(r"^(?=\S)", listing, flags=re.MULTILINE)
    assert len([group for group in groups if group.strip()]) > 4
    listed = set(re.findall(r"^  (\S+) +\S", listing, re.MULTILINE))
    rules = set(re.findall(r"^([a-z0-9%-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert listed == rules - {"help"}


def terraform_sh(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """scripts/terraform.sh plan in a copy, with a terraform that prints what it is told."""
    for name in ("scripts/terraform.sh", "terraform/allowed_cidrs.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    terraform = folder / "bin" / "terraform"
    terraform.parent.mkdir()
    terraform.write_text('#!/bin/sh\necho "$TF_VAR_allowed_cidrs $*"\n')
    terraform.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if name not in ("MY_IP_CIDR", "CHECK_IP_URL")}
    environment = own | {"PATH": f"{terraform.parent}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        ["scripts/terraform.sh", "plan"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_terraform_is_told_who_may_log_in(tmp_path: Path) -> None:
    done = terraform_sh(tmp_path, MY_IP_CIDR="203.0.113.7/32")
    assert done.stdout == '["203.0.113.7/32"] -chdir=terraform plan\n'


def test_terraform_is_not_started_when_nobody_knows_who_may_log_in(tmp_path: Path) -> None:
    done = terraform_sh(tmp_path, CHECK_IP_URL="http://127.0.0.1:1/")
    assert done.returncode != 0
    assert "MY_IP_CIDR=" in done.stderr
    assert done.stdout == ""


def nuke(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """scripts/nuke.sh in a copy, answered."""
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "nuke.sh", folder / "scripts")
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("build", ".venv", "terraform"):
        (folder / name).mkdir(exist_ok=True)
    return subprocess.run(
        ["scripts/nuke.sh"], cwd=folder, input=f"{answer}\n", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("answer", "gone"), [("yes", True), ("y", False), ("", False)])
def test_nuke_asks(tmp_path: Path, answer: str, gone: bool) -> None:
    done = nuke(tmp_path, answer)
    assert (done.returncode == 0) is gone
    assert (tmp_path / ".venv").exists() is not gone
    assert (tmp_path / "build").exists() is not gone


def test_nuke_does_not_forget_machines_that_exist(tmp_path: Path) -> None:
    (tmp_path / "terraform").mkdir()
    (tmp_path / "terraform" / "terraform.tfstate").write_text('{"resources": [{"type": "aws_instance"}]}')
    done = nuke(tmp_path, "yes")
    assert done.returncode == 1
    assert "run make down ENV=aws first" in done.stderr
    assert (tmp_path / ".venv").exists()


DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_the_verbs_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(make .*?)(?:  +#.*)?$", text, re.MULTILINE)
    calls = [re.sub(r"'[^']*'", "", call).split()[1:] for call in code if re.match(r"make \w", call)]
    named = {word for call in calls for word in call if re.fullmatch(r"[a-z][a-z0-9-]*", word)}
    targets = re.findall(r"^([a-z][a-z0-9%-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    patterns = re.compile("|".join(target.replace("%", ".+") for target in targets))
    assert {verb for verb in named if not patterns.fullmatch(verb)} == set()
