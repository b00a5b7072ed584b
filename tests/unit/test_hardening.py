"""What the hardening role refuses: settings after which its own user could not log in any more."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .role_files import render, role_variables


def refusals(**variables: Any) -> list[str]:
    """What preflight says."""
    context = {**role_variables("hardening"), "inventory_hostname": "kafka-1", **variables}
    found = Templar(DataLoader(), variables=context).template(context["_hardening_rules"])
    return [str(rule["otherwise"]) for rule in found if not rule["holds"]]


@pytest.mark.parametrize("variables", [{}, {"ansible_user": "ubuntu"}, {"hardening_reboot_time": "03:30"}])
def test_what_works_is_let_through(variables: dict[str, str]) -> None:
    assert refusals(**variables) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ansible_user", "root"),
        ("ansible_password", "a password"),
        ("ansible_ssh_pass", "a password"),
        ("hardening_reboot_time", "24:00"),
        ("hardening_reboot_time", "3:30"),
        ("hardening_reboot_time", '03:30"; x "'),
    ],
)
def test_what_locks_out_or_is_no_time_is_refused(name: str, value: str) -> None:
    (sentence,) = refusals(**{name: value})
    assert sentence.startswith(name.replace("ssh_pass", "password"))
    assert "a password" not in sentence


def test_a_machine_reboots_by_itself_only_if_told_when() -> None:
    assert 'Automatic-Reboot "false";' in render("hardening", "apt.conf.j2", {})
    text = render("hardening", "apt.conf.j2", {"hardening_reboot_time": "03:30"})
    assert 'Automatic-Reboot "true";' in text
    assert 'Automatic-Reboot-Time "03:30";' in text
