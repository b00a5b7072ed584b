"""Docker's daemon.json, and what the role docker refuses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .role_files import role_variables

MACHINE = {
    "inventory_hostname": "kafka-1",
    "ansible_facts": {
        "distribution": "Debian",
        "distribution_major_version": "13",
        "distribution_version": "13.1",
    },
}


def templated(name: str, **settings: Any) -> Any:
    """One of the role's variables, as a play on a machine has it."""
    context = {**role_variables("docker"), **MACHINE, **settings}
    return Templar(DataLoader(), variables=context).template(context[name])


def refusals(**settings: Any) -> list[str]:
    """What preflight says."""
    return [rule["otherwise"] for rule in templated("_docker_rules", **settings) if not rule["holds"]]


def test_own_daemon_options_are_merged_in_and_win() -> None:
    own = {"log-opts": {"max-size": "50m", "compress": "true"}, "live-restore": False, "mtu": 1400}
    daemon = templated("_docker_daemon", docker_daemon_options=own)
    assert daemon["log-opts"] == {"max-size": "50m", "max-file": "3", "compress": "true"}
    assert daemon["live-restore"] is False
    assert daemon["mtu"] == 1400
    assert daemon["no-new-privileges"] is True


def test_without_options_the_daemon_is_the_roles() -> None:
    assert templated("_docker_daemon")["log-opts"] == {"max-size": "10m", "max-file": "3"}


def facts(distribution: str, version: str) -> dict[str, Any]:
    """A machine of another distribution."""
    major = version.partition(".")[0]
    names = ("distribution", "distribution_version", "distribution_major_version")
    return {"ansible_facts": dict(zip(names, (distribution, version, major), strict=True))}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (facts("Fedora", "43"), "kafka-1 runs Fedora 43; this role knows Debian 12 and 13"),
        (facts("Debian", "12.9"), "docker_source is distribution, and Debian 12 packages compose 1.29"),
        ({"docker_log_max_mib": 0}, "docker_log_max_mib is 0 and docker_log_max_files is 3; both"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], sentence: str) -> None:
    (said,) = refusals(**settings)
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "settings",
    [{}, facts("Ubuntu", "24.04"), {**facts("Debian", "12.9"), "docker_source": "upstream"}],
)
def test_what_works_is_let_through(settings: dict[str, Any]) -> None:
    assert refusals(**settings) == []
