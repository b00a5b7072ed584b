"""Updates, time, and what listens."""

from __future__ import annotations

from pathlib import Path

from testinfra.host import Host

from fleet.model import load
from fleet.rules import EVERY_ROLE

FLEET = load(Path(__file__).parents[3] / "fleet.yml")
OPENED = [flow for flow in FLEET.flows if FLEET.connects(flow)]


def test_security_updates_are_installed_each_day_and_nothing_else(host: Host) -> None:
    settings = host.check_output("apt-config dump APT::Periodic Unattended-Upgrade").splitlines()
    assert 'APT::Periodic::Update-Package-Lists "1";' in settings
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in settings
    origins = [line for line in settings if "::Origins-Pattern::" in line or "::Allowed-Origins::" in line]
    assert origins
    assert [origin for origin in origins if "-security" not in origin] == []
    assert host.file("/usr/bin/unattended-upgrade").exists


def test_the_clock_is_kept(host: Host) -> None:
    service = host.service("chrony")
    assert service.is_running
    assert service.is_enabled
    with host.sudo():
        assert "169.254.169.123" in host.check_output("chronyc -n sources")


def test_nothing_listens_that_fleet_yml_does_not_name(host: Host) -> None:
    role = FLEET.machines()[host.check_output("hostname")]
    named = {("tcp", str(flow.port)) for flow in OPENED if flow.target in (role, EVERY_ROLE)}
    with host.sudo():
        sockets = [line.split() for line in host.check_output("ss -Hltnu").splitlines()]
    heard = {(kind, local.rpartition(":")) for kind, _, _, _, local, *_ in sockets}
    open_ports = {(kind, port) for kind, (address, _, port) in heard if not is_loopback(address)}
    # The intake listens only where a source is received.
    assert named - {("tcp", str(FLEET.roles["producers"].ports["intake"]))} <= open_ports <= named


def is_loopback(address: str) -> bool:
    """Whether only the machine itself reaches it."""
    return address.startswith(("127.", "[::1]"))
