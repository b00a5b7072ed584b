"""The role certificate, run on this computer: whom a certificate is for, what makes it be signed again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import local_play
from .role_files import ROOT

PLAY = """
- name: Secrets
  hosts: kafka-1
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: {authority}
      when: make_authority | default(false)
    - ansible.builtin.copy:
        content: "{{{{ secrets_authority | to_json }}}}"
        dest: "{folder}/authority.json"
        mode: "0600"
      when: make_authority | default(false)
    - ansible.builtin.import_role:
        name: gpu_token.pipeline.certificate
      when: not make_authority | default(false)
"""


class Machine:
    """A machine by the name of kafka-1, which is this computer; its files are in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.play = folder / "play.yml"
        self.play.write_text(
            PLAY.format(folder=folder, authority=ROOT / "playbooks" / "secrets" / "authority.yml")
        )

    def run(self, *flags: str, **variables: Any) -> dict[str, int]:
        """Run the role; the counts of Ansible's recap."""
        settings = {
            "private_ip_address": "10.0.1.10",
            "certificate_dir": str(self.folder / "secrets"),
            "certificate_uid": os.getuid(),
            **self.authority(),
            **variables,
        }
        done = local_play.run(self.play, "kafka-1", *flags, **settings)
        assert "PRIVATE KEY" not in done.stdout.replace("BEGIN PRIVATE KEY-----[^-]", "")
        recap = done.stdout.rsplit("kafka-1 ", 1)[1].split()
        return {name: int(count) for name, count in (pair.split("=") for pair in recap if "=" in pair)}

    def authority(self) -> dict[str, str]:
        """The authority of the folder, as the fact fleet_secrets would give it."""
        file = self.folder / "authority.json"
        if not file.exists():
            return {}
        made = json.loads(file.read_text())
        return {
            "certificate_ca_pem": made["ca_certificate"],
            "certificate_ca_private_key": made["ca_private_key"],
        }

    def pem(self) -> str:
        """What the server is given."""
        return (self.folder / "secrets" / "server.pem").read_text()

    def certificate(self) -> x509.Certificate:
        """The machine's certificate."""
        return x509.load_pem_x509_certificate(self.pem()[self.pem().index("-----BEGIN CERT") :].encode())


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with an authority of its own and no certificate."""
    made = Machine(tmp_path_factory.mktemp("certificate"))
    made.run(make_authority=True)
    return made


def test_a_dry_run_on_a_bare_machine_tells_and_writes_nothing(machine: Machine) -> None:
    assert machine.run("--check", "--diff")["changed"] == 4
    assert not (machine.folder / "secrets").exists()


def test_the_certificate_names_the_machine_and_is_the_authoritys(machine: Machine) -> None:
    assert machine.run("--diff")["changed"] == 4
    certificate = machine.certificate()
    authority = x509.load_pem_x509_certificate(machine.authority()["certificate_ca_pem"].encode())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kafka-1", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [
        "10.0.1.10",
        "127.0.0.1",
    ]
    key = load_pem_private_key(machine.pem().split("-----BEGIN CERT")[0].encode(), None)
    assert key.public_key() == certificate.public_key()
    assert (machine.folder / "secrets" / "server.pem").stat().st_mode & 0o777 == 0o400


def test_a_rerun_keeps_it(machine: Machine) -> None:
    before = machine.pem()
    assert machine.run()["changed"] == 0
    assert machine.pem() == before


@pytest.mark.parametrize("address", ["broker.example.org", "10.0.9.9"])
def test_an_address_of_its_own_is_named_too(machine: Machine, address: str) -> None:
    machine.run(certificate_address=address)
    names = machine.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = names.get_values_for_type(x509.DNSName) + [
        str(ip) for ip in names.get_values_for_type(x509.IPAddress)
    ]
    assert sorted(known) == sorted(["kafka-1", "localhost", "10.0.1.10", "127.0.0.1", address])


@pytest.mark.parametrize(
    "change", [{"private_ip_address": "10.0.1.99"}, {"certificate_renew_days": 400}], ids=str
)
def test_another_address_or_a_near_end_signs_anew(machine: Machine, change: dict[str, Any]) -> None:
    before = machine.certificate()
    assert machine.run(**change)["changed"] == 2
    assert machine.certificate() != before


def test_a_certificate_of_ones_own_is_taken_as_it_is(machine: Machine) -> None:
    own = machine.pem().replace("-----BEGIN CERT", "of my own\n-----BEGIN CERT")
    for changed in (2, 0):
        run = machine.run(certificate_server_pem=own, certificate_ca_private_key="")
        assert run["changed"] == changed
    assert machine.pem() == own
    # Whatever else stands in the file is replaced.
    assert machine.run()["changed"] == 2
    assert "of my own" not in machine.pem()


def test_another_authority_signs_anew(machine: Machine) -> None:
    before = machine.certificate()
    (machine.folder / "authority.json").unlink()
    machine.run(make_authority=True)
    assert machine.run()["changed"] == 3
    authority = x509.load_pem_x509_certificate(machine.authority()["certificate_ca_pem"].encode())
    machine.certificate().verify_directly_issued_by(authority)
    assert machine.certificate() != before
