"""What the lab asks of the computer."""

import os
import shutil
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import engine, ports, preflight
from lab.errors import LabError

ROUTES = [
    {"dst": "default", "dev": "eth0"},
    {"dst": "192.168.7.0/24", "dev": "eth0"},
    {"dst": "10.0.1.0/24", "dev": "lab-lab"},
]


@pytest.mark.parametrize(
    ("subnet", "found"),
    [
        ("10.0.2.0/24", None),
        ("10.0.1.0/24", None),
        ("192.168.7.128/25", "192.168.7.0/24 on eth0"),
        ("192.168.0.0/16", "192.168.7.0/24 on eth0"),
    ],
)
def test_a_subnet_that_cuts_a_route(subnet: str, found: str | None) -> None:
    assert preflight.overlap(IPv4Network(subnet), ROUTES, "lab-lab") == found


def test_a_route_of_another_environment_is_no_route_of_ours() -> None:
    assert preflight.overlap(IPv4Network("10.0.1.0/24"), ROUTES, "lab-molecule") == "10.0.1.0/24 on lab-lab"


@pytest.mark.parametrize(
    ("version1", "version2", "found"),
    [
        ("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t1\n", "", True),
        ("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t2\t1\t0\n", "", False),
        ("", "cpuset cpu io memory pids\n", True),
        ("", "cpuset cpu\n", False),
        ("", "", False),
    ],
)
def test_memory_can_be_limited(version1: str, version2: str, found: bool) -> None:
    assert preflight.memory_control(version1, version2) is found


def test_a_missing_command_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "docker-registry" else name)
    with pytest.raises(LabError) as caught:
        preflight.require()
    assert str(caught.value) == (
        "missing on this computer: docker-registry; install with `apt-get install docker-registry`."
    )


def test_anybody_but_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="must run as root"):
        preflight.require_root()


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LabError, match=f"LAB_EC2_PORT {port} cannot be used on 127.0.0.1"):
            ports.require_free("127.0.0.1", port, "LAB_EC2_PORT")
    ports.require_free("127.0.0.1", port, "LAB_EC2_PORT")


def test_a_port_on_an_address_that_is_still_to_come() -> None:
    ports.require_free("10.254.3.1", 15999, "LAB_REGISTRY_PORT")


@pytest.mark.parametrize("content", ["", "nonsense", "4194300", "1"])
def test_a_stale_pid_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    path = tmp_path / "docker.pid"
    path.write_text(content)
    monkeypatch.setitem(engine._PID_FILES, "dockerd", path)
    assert engine.stale_or_running("dockerd") is None
    assert not path.exists()
