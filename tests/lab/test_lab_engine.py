"""The lab and its own container engine, in namespaces where no other engine is seen or disturbed."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import READ_DATA, ROOT, WRITE_DATA, Lab, container, fleet_of_three_roles

# bash as the first process reaps what is orphaned; when it ends, everything inside ends.
HOLD = """
set -e
mount -t tmpfs tmpfs /run
mount --bind "$1/docker" /var/lib/docker
mount --bind "$1/lab" "$2/.lab"
ip link set lo up
touch "$1/ready"
while :; do sleep 1; done
"""
KILL = 'for name in {names}; do pkill -KILL -x "$name"; done; sleep 0.5'


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in namespaces of its own: processes, network, /run, the engine's store, the state."""
    folder = tmp_path_factory.mktemp("alone")
    fleet_file = fleet_of_three_roles(folder)
    # These namespaces have no network, so the packages of the machines' image are fetched outside.
    outside = Lab(fleet_file)
    outside.ok("up", "producers-1")
    outside.ok("down")
    # Only now: a lab that goes down removes .lab. Another that goes down meanwhile takes `place` for the
    # folder of an environment: so it removes neither .lab nor the engine in the namespaces, which it can see.
    place = ROOT / ".lab" / "alone"
    for path in (folder / "docker", folder / "lab", place, Path("/var/lib/docker")):
        path.mkdir(parents=True, exist_ok=True)
    holder = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--net",
            "--mount",
            *("bash", "-c", HOLD, "hold", str(folder), str(ROOT)),
        ]
    )
    try:
        while not (folder / "ready").exists():
            assert holder.poll() is None
            time.sleep(0.1)
        first = subprocess.run(
            ["pgrep", "--parent", str(holder.pid)], text=True, capture_output=True, check=True
        ).stdout.strip()
        yield Lab(
            fleet_file,
            ("nsenter", f"--target={first}", "--pid", "--net", "--mount", f"--wd={ROOT}"),
        )
    finally:
        holder.kill()
        holder.wait()
        shutil.rmtree(folder, ignore_errors=True)
        place.rmdir()
        outside.run("down")


def inside(lab: Lab, script: str) -> str:
    """The output of a shell script in the lab's namespaces."""
    command = [*lab.prefix, "sh", "-c", script]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, timeout=60, check=False).stdout


def test_an_engine_is_started_where_none_runs(alone: Lab) -> None:
    assert "container engine started" in alone.ok("up")
    assert "nothing to change" in alone.ok("up")


@pytest.mark.parametrize("names", ["dockerd", "dockerd containerd", "containerd-shim dockerd containerd"])
def test_the_fleet_comes_back_after_the_engine_was_killed(alone: Lab, names: str) -> None:
    before = alone.ok("status").split("docker")[1]
    alone.on("kafka-1", f"{WRITE_DATA.format(text='kept')}; touch /root/marker")
    inside(alone, KILL.format(names=names))
    assert "container engine started" in alone.ok("up")
    assert alone.on("kafka-1", f"{READ_DATA}; ls /root/marker").stdout == "kept\n/root/marker\n"
    after = alone.ok("status").split("docker")[1]
    assert [line.split("│")[1:6] for line in after.splitlines()] == [
        line.split("│")[1:6] for line in before.splitlines()
    ]
    assert "nothing to change" in alone.ok("up")


def test_down_finds_what_a_dead_engine_left(alone: Lab) -> None:
    inside(alone, KILL.format(names="dockerd containerd"))
    assert "kafka-1: removed" in alone.ok("down")


def test_down_ends_the_engine_that_up_started(alone: Lab) -> None:
    assert inside(alone, "pgrep -x dockerd") == ""
    assert inside(alone, f"ls {ROOT}/.lab") == ""


def test_down_leaves_the_engine_to_others(alone: Lab) -> None:
    alone.ok("up", "producers-1")
    image = inside(alone, f"docker inspect --format={{{{.Config.Image}}}} {container('producers-1')}").strip()
    inside(alone, f"docker run --detach --rm --name=stranger {image} sleep 600")
    assert "other containers run in it" in alone.ok("down")
    assert "stranger" in inside(alone, "docker ps --format={{.Names}}")
    inside(alone, "docker rm --force stranger")
    assert "container engine stopped" in alone.ok("down")
