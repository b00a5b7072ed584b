"""The guard that keeps a service off a full disk, on small file systems of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .role_files import ROLES
from .small_disk import DISK_MIB, TMPFS, mounted

GUARD = ROLES / "service" / "files" / "disk_guard.sh"
MIB = 1024 * 1024
KEEP_MIB = 16
# Says that it runs, and ends well when it is asked to stop.
SERVICE = "trap 'echo stopped well; exit 0' TERM; echo runs; while :; do sleep 0.1; done"
SHELLS = {"sh": ["sh"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 64 MiB."""
    options, device = TMPFS, tmp_path / "device"
    if request.param == "ext4":
        with device.open("wb") as file:
            file.truncate(DISK_MIB * MIB)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", str(device)], check=True)
        options = ("-o", "loop", str(device))
    with mounted(tmp_path / "disk", *options) as place:
        yield place


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    """The shells in whose images the guard runs: Debian's, and busybox as in Alpine."""
    if not shutil.which(SHELLS[request.param][0]):
        pytest.skip("busybox is not installed")
    return SHELLS[request.param]


class Guarded:
    """A command behind the guard. What it says goes to files: the watcher ends up to 2 seconds after it."""

    def __init__(self, shell: list[str], disk: Path, folder: Path) -> None:
        self._begin = [*shell, str(GUARD), str(disk)]
        self._out, self._err = folder / "out", folder / "err"

    def start(self, *command: str, keep_mib: int = KEEP_MIB) -> None:
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen([*self._begin, str(keep_mib), *command], stdout=out, stderr=err)

    def wait_for(self, line: str) -> None:
        while f"{line}\n" not in self.out():
            assert self._process.poll() is None
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()

    def status(self) -> int:
        """How it ended, within 20 seconds."""
        return self._process.wait(20)

    def out(self) -> str:
        return self._out.read_text()

    def said(self) -> str:
        return self._err.read_text()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def guarded(shell: list[str], disk: Path, tmp_path: Path) -> Iterator[Guarded]:
    service = Guarded(shell, disk, tmp_path)
    yield service
    service.end()


def free_mib(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize // MIB


def leave(disk: Path, mib: int) -> None:
    """Fill the disk until so much is free."""
    (disk / "filler").write_bytes(bytes((free_mib(disk) - mib) * MIB))


def sentence(said: str, disk: Path, what: str, command: str = "sh") -> None:
    assert said.startswith(f"disk_guard: {command} is {what}, since the disk of {disk} (")
    assert f" MiB free and must keep {KEEP_MIB}; make the disk larger" in said
    assert said.endswith(f"{command} starts by itself.\n")
    assert len(said.splitlines()) == 1


def test_a_service_with_room_runs_and_gets_the_signals(guarded: Guarded) -> None:
    guarded.start("sh", "-c", SERVICE)
    guarded.wait_for("runs")
    guarded.stop()
    assert (guarded.status(), guarded.out(), guarded.said()) == (0, "runs\nstopped well\n", "")


def test_the_service_ends_as_it_wants(guarded: Guarded) -> None:
    guarded.start("sh", "-c", 'echo "$1"; exit 7', "-", "two words")
    assert (guarded.status(), guarded.out(), guarded.said()) == (7, "two words\n", "")


def test_on_a_full_disk_nothing_is_started(guarded: Guarded, disk: Path) -> None:
    leave(disk, KEEP_MIB - 2)
    guarded.start("sh", "-c", SERVICE)
    assert (guarded.status(), guarded.out()) == (1, "")
    sentence(guarded.said(), disk, "not started")
    assert f" has {free_mib(disk)} MiB free" in guarded.said()


def test_a_disk_with_just_enough_is_used(guarded: Guarded, disk: Path) -> None:
    guarded.start("true", keep_mib=free_mib(disk))
    assert guarded.status() == 0


def test_a_service_whose_disk_fills_is_stopped_in_time(guarded: Guarded, disk: Path) -> None:
    guarded.start("sh", "-c", SERVICE)
    guarded.wait_for("runs")
    leave(disk, KEEP_MIB - 2)
    began = time.monotonic()
    assert (guarded.status(), guarded.out()) == (0, "runs\nstopped well\n")
    assert time.monotonic() - began < 6
    sentence(guarded.said(), disk, "stopped")


def test_a_service_that_does_not_listen_yet_is_asked_again(guarded: Guarded, disk: Path) -> None:
    guarded.start("bash", "-c", f"trap '' TERM; echo deaf; sleep 5; {SERVICE}")
    guarded.wait_for("deaf")
    leave(disk, KEEP_MIB - 2)
    assert (guarded.status(), guarded.out()) == (0, "deaf\nruns\nstopped well\n")
    sentence(guarded.said(), disk, "stopped", "bash")


def test_a_directory_that_is_not_there_is_named(shell: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = subprocess.run(
        [*shell, str(GUARD), str(missing), "1", "true"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"true is not started, since the disk of {missing} cannot be read" in done.stderr
