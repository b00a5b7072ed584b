"""Each machine runs its one service, and nothing but its own ports listens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

USERS = {"kafka": "1000", "mongo": "999", "processor": "10001", "producers": "10001"}
PORTS = {"kafka": {22, 9092}, "mongo": {22, 27017}, "processor": {22, 8080}, "producers": {22}}


@pytest.fixture
def role(host: Host) -> str:
    name: str = host.check_output("hostname")
    return name.rsplit("-", 1)[0]


@pytest.fixture
def container(host: Host, role: str) -> dict[str, Any]:
    with host.sudo():
        found: list[dict[str, Any]] = json.loads(host.check_output("docker inspect %s", role))
    return found[0]


def test_the_container_is_healthy(container: dict[str, Any]) -> None:
    assert container["State"]["Health"]["Status"] == "healthy", container["State"]["Health"]["Log"][-1]


def test_it_survives_a_reboot(container: dict[str, Any]) -> None:
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_it_has_a_memory_limit(container: dict[str, Any]) -> None:
    assert container["HostConfig"]["Memory"] > 0


def test_its_process_has_the_image_s_own_user(host: Host, container: dict[str, Any], role: str) -> None:
    with host.sudo():
        status = host.file(f"/proc/{container['State']['Pid']}/status").content_string
    uid = next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:"))
    assert uid == USERS[role]


def test_only_the_machine_s_own_ports_listen(host: Host, role: str) -> None:
    with host.sudo():
        sockets = host.check_output("ss -Hltn").splitlines()
    open_ports = {
        int(local.rsplit(":", 1)[1])
        for local in (line.split()[3] for line in sockets)
        if not local.startswith(("127.", "[::1]"))
    }
    assert open_ports == PORTS[role]


def test_settings_are_the_owner_s_alone(host: Host, role: str) -> None:
    with host.sudo():
        found = host.check_output("find /opt/gpu-token -name .env -printf '%m %u\\n'").splitlines()
    # mongo's settings are its mongod.conf, which holds no secret
    assert found == ([] if role == "mongo" else ["600 root"])
