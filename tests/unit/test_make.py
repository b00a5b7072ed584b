"""The make verbs: each is the command that it says, for the lab and for AWS, and `make` lists them all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAY = "ansible-playbook -i inventories/{env}"
ADHOC = "-i inventories/{env} --become -m ansible.builtin"
CONVERGE = f"{PLAY} site.yml"

# Verb -> the commands that it runs, apart from the tools' set-up; {env} is the environment.
ALIKE = {
    "clean": ["rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible"],
    "nuke": ["scripts/nuke.sh"],
    "init": ["terraform -chdir=terraform init -input=false"],
    "validate": ["terraform -chdir=terraform validate"],
    "fmt": ["terraform -chdir=terraform fmt -recursive && ruff format ."],
    "lint": ["scripts/lint.sh"],
    "sbom": ["scripts/sbom.sh"],
    "audit": ["scripts/audit.sh || [ $? -eq 77 ]"],
    "outdated": ["python -m supply.outdated"],
    "plan": ["scripts/terraform.sh plan -input=false -out=fleet.tfplan"],
    "apply": ["terraform -chdir=terraform apply -input=false fleet.tfplan"],
    "known-hosts": ["mkdir -p -m 0700 ~/.ssh && python3 terraform/known_hosts.py 300 >> ~/.ssh/known_hosts"],
    "outputs": ["terraform -chdir=terraform output"],
    "ip": ["python3 terraform/allowed_cidrs.py"],
    "whoami": ["aws sts get-caller-identity"],
    "env": [
        "env | grep -E '^(AWS_PROFILE|AWS_REGION|FLEET_|LAB_|TF_VAR_|MY_IP_CIDR)' | sort; echo \"ENV={env}\""
    ],
    "addrs": [
        'ansible all -i inventories/{env} -m ansible.builtin.debug -a "msg={{{{ ansible_host }}}}"',
    ],
    "api-token": [
        f'ansible processor[0] {ADHOC}.command -a "cat /opt/gpu-token/processor/secrets/api-token" | tail -1',
    ],
    "converge": [CONVERGE],
    "check": [f"{CONVERGE} --check --diff"],
    "drift": ["scripts/drift.sh {env}"],
    "verify": [f"{PLAY} playbooks/verify.yml"],
    "verify-all": [f"{PLAY} playbooks/verify.yml"],
    "verify-kafka": [f"{PLAY} playbooks/verify.yml --limit kafka"],
    "verify-mongo": [f"{PLAY} playbooks/verify.yml --limit mongo"],
    "verify-processor": [f"{PLAY} playbooks/verify.yml --limit processor"],
    "verify-producers": [f"{PLAY} playbooks/verify.yml --limit producers"],
    "exec-mongo-1": [f'ansible mongo-1 {ADHOC}.shell -a "$CMD"'],
    "logs-kafka-1": [f'ansible kafka-1 {ADHOC}.command -a "docker logs --tail 100 kafka"'],
}
LAB = {
    "deploy": ["lab up", CONVERGE],
    "down": ["lab down"],
    "ssh-kafka-1": ["lab ssh kafka-1"],
}
AWS = {
    "deploy": [*ALIKE["init"], *ALIKE["plan"], *ALIKE["apply"], *ALIKE["known-hosts"], CONVERGE],
    "down": ["scripts/terraform.sh destroy"],
    "ssh-kafka-1": [
        "ssh ubuntu@$(ansible-inventory -i inventories/aws --host kafka-1 | jq -er .ansible_host)"
    ],
}
CASES = [
    pytest.param(env, verb, commands, id=f"{env}-{verb}")
    for env, own in (("lab", LAB), ("aws", AWS))
    for verb, commands in (ALIKE | own).items()
]


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


@pytest.mark.parametrize(("env", "verb", "wanted"), CASES)
def test_a_verb_runs_what_it_says(env: str, verb: str, wanted: list[str]) -> None:
    assert commands(verb, ENV=env) == [command.format(env=env) for command in wanted]


def test_converge_is_narrowed_by_variables() -> None:
    wanted = (
        "ansible-playbook -i inventories/lab --limit processor-1 --tags processor_configure --diff site.yml"
    )
    assert commands("converge", LIMIT="processor-1", TAGS="processor_configure", ARGS="--diff") == [wanted]


def test_ssh_on_aws_takes_the_key() -> None:
    [command] = commands("ssh-kafka-1", ENV="aws", FLEET_SSH_KEY="/keys/one")
    assert command.startswith("ssh -i /keys/one ubuntu@")


def test_make_alone_lists_every_verb_in_its_group() -> None:
    listing = make()
    groups = re.split(r"^(?=\S)", listing, flags=re.MULTILINE)
    assert len([group for group in groups if group.strip()]) > 4
    listed = set(re.findall(r"^  (\S+) +\S", listing, re.MULTILINE))
    one_machine = {"ssh-%", "exec-%", "logs-%", "verify-%"}
    plain = {verb for verb in ALIKE | AWS if not re.match(r"(ssh|exec|logs|verify)-", verb)}
    assert plain | one_machine | {"verify-all", "deploy", "demo", "test"} <= listed


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
