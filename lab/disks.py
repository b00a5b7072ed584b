"""The machines' data disks: sparse files that loop devices show as block devices.

A disk outlives its machine, as an EBS volume does. Its file is the only record of it. A machine is
given a link below /dev and not the loop device itself: the kernel may number loop devices differently after
a reboot of this computer, and /dev is empty then, so that no machine can start with another's disk.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from lab import shell
from lab.errors import LabError
from lab.report import Report
from lab.settings import Settings

_GIB = 1024**3
_FILES = Path("/var/lib/gpu-token-lab")
_DEVICES = Path("/dev/gpu-token-lab")


def device(settings: Settings, machine: str) -> Path:
    """The path of a machine's data disk on this computer."""
    return _DEVICES / settings.name / machine


def ensure(settings: Settings, machine: str, size_gib: int, report: Report) -> None:
    """A machine's disk with its device; an existing one keeps its data and may grow."""
    file = _files(settings) / f"{machine}.img"
    grown = _resize(file, machine, size_gib * _GIB)
    loop = _loop(file)
    if loop is None:
        # Direct I/O: the machine caches its data already; a second cache would lie outside its memory limit.
        loop = shell.run(["losetup", "--find", "--show", "--direct-io=on", str(file)]).strip()
    elif grown:
        shell.run(["losetup", "--set-capacity", loop])
    link = device(settings, machine)
    if not link.is_symlink() or str(link.readlink()) != loop:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(loop)
        report.changed(f"{machine}: data disk of {size_gib} GiB")
    elif grown:
        report.changed(f"{machine}: data disk grown to {size_gib} GiB")


def remove(settings: Settings, machine: str) -> None:
    """Remove a machine's disk and what is on it."""
    file = _files(settings) / f"{machine}.img"
    if loop := _loop(file):
        shell.run(["losetup", "--detach", loop])
    device(settings, machine).unlink(missing_ok=True)
    file.unlink(missing_ok=True)


def remove_all(settings: Settings) -> None:
    """Remove every disk that the environment has."""
    for file in _files(settings).glob("*.img"):
        remove(settings, file.stem)
    for folder in (_files(settings), _DEVICES / settings.name):
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other environments have their folders in it
            folder.parent.rmdir()


def _resize(file: Path, machine: str, size: int) -> bool:
    """Give a disk's file its size; True if it was there and is larger now."""
    file.parent.mkdir(parents=True, exist_ok=True)
    old = file.stat().st_size if file.exists() else 0
    if size < old:
        raise LabError(
            f"{machine}'s data disk has {old // _GIB} GiB and cannot shrink to {size // _GIB}: "
            "raise data_disk_gib in fleet.yml, or run `lab down` to begin with an empty one."
        )
    if size > old:
        with file.open("ab") as disk:
            disk.truncate(size)
    return 0 < old < size


def _loop(file: Path) -> str | None:
    """The loop device of a file."""
    if not file.exists():
        return None
    names = shell.run(["losetup", "--noheadings", "--output=NAME", f"--associated={file}"]).split()
    return names[0] if names else None


def _files(settings: Settings) -> Path:
    return _FILES / settings.name
