"""What this computer must have for the lab, checked before anything is changed."""

from __future__ import annotations

import os
import shutil
from ipaddress import IPv4Network
from pathlib import Path

from lab import shell
from lab.errors import LabError

COMMANDS = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "iptables": "iptables",
    "losetup": "mount",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Each command and the Debian package that has it."""

_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def require_root() -> None:
    """Refuse to run as anybody but root."""
    if os.geteuid() != 0:
        raise LabError("the lab must run as root, since it makes machines and firewall rules: use sudo.")


def require() -> None:
    """Refuse to run if something is missing; the error names the first such thing."""
    if absent := missing_commands():
        names = ", ".join(absent)
        packages = " ".join(sorted({COMMANDS[name] for name in absent}))
        raise LabError(f"missing on this computer: {names}; install with `apt-get install {packages}`.")
    _require_file_system("overlay", "their root")
    _require_file_system("xfs", "their data disks")
    _require_loop_devices()
    _require_memory_control()


def missing_commands() -> list[str]:
    """The commands of ``COMMANDS`` that are not on the path."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def require_bridge_filter() -> None:
    """Turn on the filtering of bridged packets, without which machines bypass the firewall."""
    if not _BRIDGE_FILTER.exists():
        _load("br_netfilter")
    try:
        if _BRIDGE_FILTER.read_text().strip() != "1":
            _BRIDGE_FILTER.write_text("1\n")
        enabled = _BRIDGE_FILTER.read_text().strip() == "1"
    except OSError:
        enabled = False
    if not enabled:
        raise LabError(
            "net.bridge.bridge-nf-call-iptables is off and cannot be turned on, so the flows of "
            "fleet.yml could not be enforced: use a kernel with br_netfilter."
        )


def _require_file_system(name: str, purpose: str) -> None:
    if name not in _text("/proc/filesystems").split() and not _load(name):
        raise LabError(
            f"the kernel has no {name} file system, which the machines need for {purpose}: load or build it."
        )


def _require_loop_devices() -> None:
    if not Path("/dev/loop-control").exists() and not _load("loop"):
        raise LabError(
            "the kernel has no loop devices, which are the machines' data disks: load or build them."
        )


def _require_memory_control() -> None:
    if not memory_control(_text("/proc/cgroups"), _text("/sys/fs/cgroup/cgroup.controllers")):
        raise LabError(
            "the kernel's memory control group is off, so a machine's memory would have no limit: "
            "boot with cgroup_enable=memory."
        )


def memory_control(version1: str, version2: str) -> bool:
    """Whether memory can be limited, from /proc/cgroups or version 2's list of controllers."""
    rows = (line.split() for line in version1.splitlines() if not line.startswith("#"))
    return "memory" in version2.split() or any(row[0] == "memory" and row[3] == "1" for row in rows if row)


def overlap(subnet: IPv4Network, routes: list[dict[str, str]], own_interface: str) -> str | None:
    """The route (``ip -j route``) of another interface that overlaps the subnet, in words."""
    for route in routes:
        destination, interface = route.get("dst", "default"), route.get("dev", "")
        if destination == "default" or interface == own_interface:
            continue
        if IPv4Network(destination).overlaps(subnet):
            return f"{destination} on {interface}"
    return None


def _load(module: str) -> bool:
    """Load a kernel module; False if that fails or there is no modprobe."""
    return shutil.which("modprobe") is not None and shell.succeeds(["modprobe", module])


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
