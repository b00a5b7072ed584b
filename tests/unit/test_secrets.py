"""playbooks/secrets.yml against the lab's SSM: made once, known to every machine, shown to nobody."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lab import ec2_server
from lab.settings import Settings

from . import local_play
from .role_files import ROOT
from .test_lab_aws_api import settings, ssm  # noqa: F401 (a fixture)

PLAY = """
- import_playbook: {root}/playbooks/secrets.yml
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ fleet_secrets | to_json }}}}"
        dest: "{folder}/{{{{ inventory_hostname }}}}.json"
        mode: "0600"
      check_mode: false
      changed_when: false
      diff: false
"""
PATH = "/gpu-token/test"


class Controller:
    """Runs the playbook for two machines."""

    hosts = "kafka-1,mongo-1"

    def __init__(self, api: Settings, folder: Path) -> None:
        self.api, self.folder = api, folder
        (folder / "play.yml").write_text(PLAY.format(root=ROOT, folder=folder))

    def run(self, *flags: str) -> str:
        """What a run at -vvv prints."""
        connection = {
            "endpoint_url": self.api.ec2_url,
            "region": ec2_server.REGION,
            "access_key": "lab",
            "secret_key": "lab",
            "profile": "",
        }
        done = local_play.run(
            self.folder / "play.yml",
            self.hosts,
            "--diff",
            *flags,
            secrets_store="ssm",
            secrets_path=PATH,
            secrets_connection=connection,
        )
        return done.stdout + done.stderr

    def known_to(self, machine: str) -> dict[str, str]:
        """The machine's fact."""
        known: dict[str, str] = json.loads((self.folder / f"{machine}.json").read_text())
        return known

    def kept(self) -> dict[str, str]:
        """What stands in SSM."""
        client = ssm(self.api)
        pages = client.get_paginator("describe_parameters").paginate()
        names = [one["Name"] for page in pages for one in page["Parameters"]]
        found = [client.get_parameter(Name=name, WithDecryption=True)["Parameter"] for name in names]
        assert {one["Type"] for one in found} <= {"SecureString"}
        return {one["Name"].removeprefix(f"{PATH}/"): one["Value"] for one in found}


@pytest.fixture
def controller(settings: Settings, tmp_path: Path) -> Controller:  # noqa: F811 (the fixture)
    """A controller and an SSM that holds nothing."""
    return Controller(settings, tmp_path)


def test_secrets_are_made_once_and_shown_to_nobody(controller: Controller) -> None:
    controller.run("--check")
    assert controller.kept() == {}
    assert set(controller.known_to("mongo-1")) == set(controller.known_to("kafka-1"))

    printed = controller.run()
    kept = controller.kept()
    assert kept == controller.known_to("kafka-1") == controller.known_to("mongo-1")
    passwords = {name: value for name, value in kept.items() if not name.startswith("ca_")}
    assert all(len(value) == 32 and value.isalnum() for value in passwords.values())
    assert len(set(passwords.values())) == len(passwords) == 8
    assert [name for name, value in kept.items() if value.splitlines()[-2:][0] in printed] == []

    # Cut off between the authority's key and its certificate.
    ssm(controller.api).delete_parameter(Name=f"{PATH}/ca_certificate")
    controller.run()
    again = controller.kept()
    assert again["ca_private_key"] == kept["ca_private_key"]
    certificate = x509.load_pem_x509_certificate(again["ca_certificate"].encode())
    key = load_pem_private_key(again["ca_private_key"].encode(), None)
    assert certificate.public_key() == key.public_key()

    assert " changed=0 " in controller.run().rsplit("kafka-1 ", 1)[1]
    assert controller.kept() == again


GROUPED = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.group_by: {key: gpu_hosts}
      when: inventory_hostname == 'a.example'
"""


def test_each_gpu_host_has_a_secret_of_its_own(controller: Controller) -> None:
    play = controller.folder / "play.yml"
    play.write_text(GROUPED + play.read_text())
    controller.hosts = "kafka-1,a.example"
    controller.run()
    kept = controller.kept()
    assert len(kept["kafka_gpu_host_a.example_password"]) == 32
    assert controller.known_to("kafka-1") == kept


def test_a_file_of_secrets_is_encrypted_and_enough(tmp_path: Path) -> None:
    file, password = tmp_path / "secrets.yml", tmp_path / "password"
    password.write_text("of the vault\n")
    make = ["make", "-s", "secrets-file", f"SECRETS={file}", f"VAULT_PASSWORD_FILE={password}"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True)
    written = file.read_text()
    assert written.startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert file.stat().st_mode & 0o777 == 0o600
    unlock = [f"--vault-password-file={password}"]
    run = ["ansible-playbook", "-i", "kafka-1,", *unlock, "-e", "secrets_store=vault", "-e", f"@{file}"]
    subprocess.run([*run, "playbooks/secrets.yml"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True)
    assert file.read_text() == written
