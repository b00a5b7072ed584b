"""The machines as the engine knows them: containers that run systemd.

The containers' labels are the only record of what is up; there is no second one to disagree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab import disks, shell
from lab.errors import LabError
from lab.seed import Seed
from lab.settings import LABEL, Settings

STOP_SECONDS = 20
# Version 2 of control groups must be writable before systemd starts, and each start mounts them
# read-only again. Devices in fstab are mounted here, since systemd leaves them alone in a container.
_BOOT = "/usr/local/lib/lab/writable-cgroups && { mount --all; exec /sbin/init; }"
_DISKS = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
# Where udev shows an EBS volume on EC2's machines.
_BY_ID = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"
MIB = 1024 * 1024


@dataclass(frozen=True)
class Machine:
    """A machine that exists; ``state`` is the engine's word (running, exited, created …)."""

    name: str
    role: str
    address: IPv4Address
    state: str
    memory_mib: int
    started_at: str
    owner: str

    @property
    def running(self) -> bool:
        """Whether it is up."""
        return self.state == "running"


@dataclass(frozen=True)
class Order:
    """A machine to be made."""

    name: str
    role: str
    address: IPv4Address
    memory_mib: int
    data_volume_id: str | None


def listing(settings: Settings) -> dict[str, Machine]:
    """The environment's machines by name."""
    ids = shell.run(["docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}={settings.name}"]).split()
    if not ids:
        return {}
    # A container may vanish between the two calls; what was found is printed all the same.
    found = json.loads(shell.attempt(["docker", "inspect", "--type=container", *ids]).stdout or b"[]")
    machines = [_machine(container) for container in found]
    return {machine.name: machine for machine in sorted(machines, key=lambda machine: machine.name)}


def _machine(container: dict[str, dict[str, object]]) -> Machine:
    labels = container["Config"]["Labels"]
    assert isinstance(labels, dict)
    return Machine(
        name=labels[f"{LABEL}.machine"],
        role=labels[f"{LABEL}.role"],
        address=IPv4Address(labels[f"{LABEL}.address"]),
        state=str(container["State"]["Status"]),
        memory_mib=int(str(container["HostConfig"]["Memory"])) // MIB,
        started_at=str(container["State"]["StartedAt"]),
        owner=labels[f"{LABEL}.state"],
    )


def create(settings: Settings, order: Order, image: str, seed: Seed) -> None:
    """Create a machine and start it. All its disks are empty, except perhaps its data disk."""
    container = settings.container(order.name)
    _remove_volumes(settings, order.name)
    for purpose in _DISKS:
        shell.run(
            [
                "docker",
                "volume",
                "create",
                f"--label={LABEL}={settings.name}",
                f"--label={LABEL}.machine={order.name}",
                settings.volume(order.name, purpose),
            ]
        )
    data_disk = []
    if order.data_volume_id:
        by_id = _BY_ID + order.data_volume_id.replace("-", "")
        data_disk.append(f"--device={disks.device(settings, order.name)}:{by_id}")
    labels = {
        LABEL: settings.name,
        f"{LABEL}.machine": order.name,
        f"{LABEL}.role": order.role,
        f"{LABEL}.address": str(order.address),
        f"{LABEL}.state": str(settings.state),
    }
    shell.run(
        [
            "docker",
            "create",
            f"--name={container}",
            f"--hostname={order.name}",
            *(f"--label={key}={value}" for key, value in labels.items()),
            f"--network={settings.network}",
            f"--ip={order.address}",
            f"--memory={order.memory_mib}m",
            f"--memory-swap={order.memory_mib}m",
            "--cap-add=ALL",
            # Not in every host's bounding set, and no service here needs it.
            "--cap-drop=SYS_RESOURCE",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
            "--security-opt=systempaths=unconfined",
            # A namespace of its own keeps nested containers inside the machine's memory limit.
            "--cgroupns=private",
            "--tmpfs=/run:rw,nosuid,nodev,mode=755",
            "--tmpfs=/run/lock",
            *(f"--volume={settings.volume(order.name, purpose)}:{path}" for purpose, path in _DISKS.items()),
            *data_disk,
            "--restart=always",
            "--stop-signal=SIGRTMIN+3",
            f"--stop-timeout={STOP_SECONDS}",
            "--env=container=docker",
            image,
            "/bin/sh",
            "-c",
            _BOOT,
        ]
    )
    give(settings, order.name, seed)
    shell.run(["docker", "start", container])


def give(settings: Settings, machine: str, seed: Seed) -> None:
    """Copy the keys to a machine."""
    shell.run(["docker", "cp", "-", f"{settings.container(machine)}:/"], stdin=seed.archive())


def start(settings: Settings, machine: Machine) -> None:
    """Start a machine that does not run, or was paused."""
    container = settings.container(machine.name)
    shell.run(["docker", "update", "--restart=always", container])
    shell.run(["docker", "unpause" if machine.state == "paused" else "start", container])


def stop(settings: Settings, machine: str) -> None:
    """Stop a machine; it stays stopped when the engine restarts."""
    container = settings.container(machine)
    shell.run(["docker", "update", "--restart=no", container])
    shell.run(["docker", "stop", container])


def resize(settings: Settings, machine: str, memory_mib: int) -> None:
    """Give a machine another amount of memory."""
    size = f"{memory_mib}m"
    shell.run(["docker", "update", f"--memory={size}", f"--memory-swap={size}", settings.container(machine)])


def remove(settings: Settings, machine: str, keep_data: bool) -> None:
    """Remove a machine and its disks; the data disk only if it is not to be kept."""
    shell.attempt(["docker", "rm", "--force", settings.container(machine)])
    _remove_volumes(settings, machine)
    if not keep_data:
        disks.remove(settings, machine)


def reboot(settings: Settings, machine: str) -> None:
    """Reboot a machine from inside. Returns while the machine is shutting down."""
    # The connection breaks with the machine, so the command's own status says nothing.
    run_in(settings, machine, "systemctl", "reboot")


def run_in(settings: Settings, machine: str, *command: str) -> str | None:
    """What a command prints inside a machine, as root; None if it fails."""
    done = shell.attempt(["docker", "exec", settings.container(machine), *command], timeout_seconds=30)
    return None if done.returncode else done.stdout.decode(errors="replace").strip()


def remove_leftovers(settings: Settings) -> None:
    """Remove every volume and data disk that the environment still has."""
    if names := _volumes(settings):
        shell.run(["docker", "volume", "rm", *names])
    disks.remove_all(settings)


def require_own(settings: Settings, found: dict[str, Machine]) -> None:
    """Refuse machines that another checkout made under the same name, as long as it is there.

    Machines of a checkout that was removed belong to whoever comes: nobody else can take them down.
    """
    for machine in found.values():
        if machine.owner != str(settings.state) and Path(machine.owner).is_dir():
            raise LabError(
                f"the environment {settings.name} belongs to {machine.owner}: "
                "work from there, or set LAB_NAME, LAB_SUBNET, LAB_EC2_PORT and LAB_REGISTRY_PORT."
            )


def _remove_volumes(settings: Settings, machine: str) -> None:
    if names := _volumes(settings, f"--filter=label={LABEL}.machine={machine}"):
        shell.run(["docker", "volume", "rm", *names])


def _volumes(settings: Settings, *filters: str) -> list[str]:
    command = ["docker", "volume", "ls", "--quiet", f"--filter=label={LABEL}={settings.name}", *filters]
    return shell.run(command).split()
