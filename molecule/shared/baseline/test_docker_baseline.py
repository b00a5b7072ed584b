"""The engine and its containers, as dev-sec's and CIS's baselines for Docker demand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

# Not that of control groups: of version 1 the engine's own choice is the machine's.
NAMESPACES = ("IpcMode", "NetworkMode", "PidMode", "UsernsMode", "UTSMode")
# Whoever has one of these inside a container has the machine.
MACHINE = {"/", "/etc", "/run", "/var/run", "/run/docker.sock", "/var/run/docker.sock"}


@pytest.fixture(scope="module")
def info(host: Host) -> dict[str, Any]:
    """What `docker info` reports."""
    with host.sudo():
        told: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return told


@pytest.fixture(scope="module")
def containers(host: Host) -> list[dict[str, Any]]:
    """Every container, running or not; where only the engine is under test there are none."""
    with host.sudo():
        ids = host.check_output("docker ps --all --quiet").split()
        found: list[dict[str, Any]] = (
            json.loads(host.check_output(f"docker inspect {' '.join(ids)}")) if ids else []
        )
    return found


def test_the_engine_s_protections_are_on(info: dict[str, Any]) -> None:
    options = " ".join(info["SecurityOptions"])
    assert "name=no-new-privileges" in options
    assert "name=seccomp,profile=builtin" in options
    assert info["LiveRestoreEnabled"]


def test_it_listens_on_its_socket_alone(host: Host) -> None:
    with host.sudo():
        assert "dockerd" not in host.check_output("ss -Hltnup")
        socket = host.file("/run/docker.sock")
        assert (socket.user, socket.group, socket.mode) == ("root", "docker", 0o660)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/docker",
        "/etc/docker/daemon.json",
        "/usr/lib/systemd/system/docker.service",
        "/usr/lib/systemd/system/docker.socket",
    ],
)
def test_its_settings_are_root_s(host: Host, path: str) -> None:
    found = host.file(path)
    assert (found.user, found.group) == ("root", "root")
    assert not found.mode & 0o022


def test_no_container_is_privileged(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        settings = container["HostConfig"]
        assert not settings["Privileged"], container["Name"]
        assert not settings["CapAdd"], container["Name"]
        assert not settings["Devices"], container["Name"]
        assert not {"seccomp=unconfined", "apparmor=unconfined"} & set(settings["SecurityOpt"] or [])


def test_no_container_shares_a_namespace_of_the_machine(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        shared = [name for name in NAMESPACES if container["HostConfig"][name] == "host"]
        assert shared == [], container["Name"]


def test_no_container_holds_the_machine(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        sources = {mount.get("Source") for mount in container["Mounts"]}
        assert not sources & MACHINE, container["Name"]
