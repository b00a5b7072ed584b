"""One lab environment: bringing it up, changing single machines, taking it down."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

from fleet.model import Fleet
from lab import (
    addresses,
    disks,
    ec2_server,
    engine,
    firewall,
    handover,
    images,
    lock,
    machines,
    network,
    preflight,
    registry,
    ssh,
)
from lab.ec2 import DataVolume, Instance, Registrations
from lab.errors import LabError
from lab.machines import Machine, Order
from lab.report import Report
from lab.seed import Seed
from lab.settings import Settings
from lab.ssh import Answer
from lab.waiting import until
from lab.workload import process

BOOT_SECONDS = 120


class Environment:
    """The operations on one environment. Every one of them may be repeated."""

    def __init__(self, settings: Settings, fleet: Fleet, report: Report) -> None:
        self.settings = settings
        self.fleet = fleet
        self.report = report
        self.keys = ssh.Keys(settings.state)

    def up(self, names: list[str]) -> None:
        """Bring up the named machines, or the whole fleet and nothing beside it."""
        roles = self.fleet.machines()
        wanted = names or list(roles)
        for name in wanted:
            self._require_known(name)
        preflight.require()
        ec2_server.require_port(self.settings)
        registry.require_port(self.settings)
        self._engine()
        preflight.require_bridge_filter()
        network.require_usable(self.settings)
        existing = self._existing()
        chosen = self._images()
        cut_off = network.ensure(self.settings, self.report)
        for name in [] if names else [name for name in existing if name not in roles]:
            self._remove(existing.pop(name))
        for machine in list(existing.values()):
            # Never started, half removed, or made for a network that no longer exists: it cannot be repaired.
            if cut_off or machine.state in ("created", "dead"):
                machines.remove(self.settings, existing.pop(machine.name).name, keep_data=True)
        missing = [name for name in wanted if name not in existing]
        plan = self._plan(missing, existing)
        self._firewall(existing, plan)
        registry.ensure(self.settings, self.report)
        ec2_server.ensure(self.settings, self.report)
        volumes = {name: self._volume_id(name) for name in missing}
        self._each(missing, lambda name: self._create(name, plan[name], volumes[name], chosen.machine))
        self._each([name for name in wanted if name in existing], lambda name: self._heal(existing[name]))
        self._publish()
        self._each(wanted, self._reachable)
        if process.wanted(self.settings):
            process.ensure(self.settings, self.report)
        handover.write(self.settings, self.keys, chosen, self.report)

    def want_workload(self) -> None:
        """Have engines, a GPU exporter and a gateway beside the fleet, from the next `up` on."""
        process.want(self.settings)

    def down(self) -> None:
        """Remove every trace of the environment, and the engine if it is the lab's and idle."""
        preflight.require()
        if self.keys.folder.exists():
            # It was up, so something is left that only a running engine can remove.
            self._engine()
        process.stop(self.settings, self.report)
        registry.stop(self.settings, self.report)
        ec2_server.stop(self.settings, self.report)
        if engine.answers():
            found = self._existing()
            self._each(list(found), lambda name: self._remove(found[name]))
            machines.remove_leftovers(self.settings)
            network.remove(self.settings, self.report)
        firewall.remove(firewall.chains(self.settings, self.fleet, {}), self.report)
        shutil.rmtree(self.settings.state, ignore_errors=True)
        folder = self.settings.state.parent
        engine.stop_if_ours(folder, self.report)
        with contextlib.suppress(OSError):  # other environments have their folders in it
            folder.rmdir()

    def stop(self, name: str) -> None:
        """Stop a machine, as one stops an EC2 instance."""
        if self.machine(name).running:
            machines.stop(self.settings, name)
            self.report.changed(f"{name}: stopped")
        self._publish()

    def start(self, name: str) -> None:
        """Start a stopped machine."""
        machine = self.machine(name)
        self._heal(machine)
        self._publish()
        self._reachable(name)

    def reboot(self, name: str) -> None:
        """Reboot a machine from inside, and wait until it is back."""
        before = self.running(name)
        machines.reboot(self.settings, name)
        until(
            lambda: self.machine(name).running and self.machine(name).started_at != before.started_at,
            f"{name} did not restart",
            BOOT_SECONDS,
        )
        self.report.changed(f"{name}: rebooted")
        self._reachable(name)

    def replace(self, name: str) -> None:
        """Destroy a machine and make another in its place: new disks, address and keys, old data disk."""
        old = self.machine(name)
        machine_image = self._images().machine
        others = {key: machine for key, machine in self._existing().items() if key != name}
        address = self._plan([name], others, avoid=old.address)[name]
        machines.remove(self.settings, name, keep_data=True)
        self.keys.forget(name)
        ec2_server.ensure(self.settings, self.report)
        self._registrations().terminate(name)
        self.report.changed(f"{name}: destroyed, its data disk kept")
        self._firewall(others, {name: address})
        self._create(name, address, self._volume_id(name), machine_image)
        self._publish()
        self._reachable(name)

    def running(self, name: str) -> Machine:
        """A machine that runs."""
        machine = self.machine(name)
        if not machine.running:
            raise LabError(f"{name} is {machine.state}, not running: start it with `lab start {name}`.")
        return machine

    def machine(self, name: str) -> Machine:
        """A machine that exists."""
        self._require_known(name)
        engine.require()
        found = self._existing().get(name)
        if found is None:
            raise LabError(f"{name} is not up: bring it up with `lab up {name}`.")
        return found

    def _engine(self) -> None:
        folder = self.settings.state.parent
        with lock.held(folder, self.report):
            engine.ensure(folder, self.report)

    def _images(self) -> images.ImageSet:
        return images.ensure(self.settings.cache, self.settings.image_mode, self.fleet, self.report.note)

    def _existing(self) -> dict[str, Machine]:
        found = machines.listing(self.settings)
        machines.require_own(self.settings, found)
        return found

    def _require_known(self, name: str) -> None:
        known = self.fleet.machines()
        if name not in known:
            raise LabError(f'"{name}" is no machine of fleet.yml: use one of {", ".join(known)}.')

    def _plan(
        self, missing: list[str], existing: dict[str, Machine], avoid: IPv4Address | None = None
    ) -> dict[str, IPv4Address]:
        held = {machine.name: machine.address for machine in existing.values()}
        fixed = addresses.pinned(self.fleet, self.settings.subnet)
        return addresses.assign(self.settings.subnet, missing, fixed, held, avoid)

    def _firewall(self, existing: dict[str, Machine], plan: dict[str, IPv4Address]) -> None:
        roles = self.fleet.machines()
        hosts = {machine.name: (machine.role, machine.address) for machine in existing.values()}
        hosts |= {name: (roles[name], address) for name, address in plan.items()}
        fleet = process.beside(self.fleet, self.settings)
        firewall.ensure(firewall.chains(self.settings, fleet, hosts), self.report)

    def _data_volume(self, name: str, role: str) -> DataVolume | None:
        size_gib = self.fleet.roles[role].data_disk_gib
        return DataVolume(name, role, size_gib) if size_gib else None

    def _volume_id(self, name: str) -> str | None:
        volume = self._data_volume(name, self.fleet.machines()[name])
        if volume is None:
            return None
        return self._registrations().ensure_volume(volume, self.report)

    def _disk(self, name: str, role: str) -> None:
        if volume := self._data_volume(name, role):
            disks.ensure(self.settings, name, volume.size_gib, self.report)

    def _create(self, name: str, address: IPv4Address, volume_id: str | None, image: str) -> None:
        role = self.fleet.machines()[name]
        spec = self.fleet.roles[role]
        self._disk(name, role)
        order = Order(name, role, address, spec.memory_mib, volume_id)
        machines.create(self.settings, order, image, self._seed(name))
        self.report.changed(f"{name}: machine at {address} with {spec.memory_mib} MiB")

    def _heal(self, machine: Machine) -> None:
        self._disk(machine.name, machine.role)
        memory_mib = self.fleet.roles[machine.role].memory_mib
        if machine.memory_mib != memory_mib:
            machines.resize(self.settings, machine.name, memory_mib)
            self.report.changed(f"{machine.name}: memory {machine.memory_mib} -> {memory_mib} MiB")
        if not machine.running:
            machines.start(self.settings, machine)
            self.report.changed(f"{machine.name}: started")

    def _remove(self, machine: Machine) -> None:
        machines.remove(self.settings, machine.name, keep_data=False)
        self.keys.forget(machine.name)
        self.report.changed(f"{machine.name}: removed")

    def _publish(self) -> None:
        """Tell SSH and the EC2 API which machines there are."""
        existing = self._existing()
        hosts = {machine.name: machine.address for machine in existing.values()}
        self.keys.write_known_hosts(hosts)
        self.keys.write_config(hosts)
        ec2_server.ensure(self.settings, self.report)
        registrations = self._registrations()
        subnets = (self.settings.vpc, self.settings.subnet)
        instances = [self._instance(machine) for machine in existing.values()]
        registrations.register(subnets, instances, self.report)
        volumes = [self._data_volume(machine.name, machine.role) for machine in existing.values()]
        registrations.attach_volumes(filter(None, volumes), self.report)

    def _registrations(self) -> Registrations:
        api = ec2_server.client(self.settings)
        return Registrations(api, self.fleet.project, self.settings.name)

    def _instance(self, machine: Machine) -> Instance:
        kind = self.fleet.roles[machine.role].instance_type
        return Instance(machine.name, machine.role, machine.address, kind, machine.running)

    def _reachable(self, name: str) -> None:
        """Wait until a machine lets the operator in; give it its keys again if it will not."""
        address = self.machine(name).address
        silent = f"{name} does not answer on SSH at {address}"
        until(lambda: self.keys.knock(address) is not Answer.SILENT, silent, BOOT_SECONDS)
        if self.keys.knock(address) is Answer.REFUSED:
            machines.give(self.settings, name, self._seed(name))
            machines.run_in(self.settings, name, "systemctl", "restart", "ssh")
            self.report.changed(f"{name}: given its keys again")
            until(lambda: self.keys.knock(address) is Answer.WELCOME, silent, BOOT_SECONDS)

    def _seed(self, name: str) -> Seed:
        return Seed(self.keys.operator_public(), *self.keys.host_key(name))

    @staticmethod
    def _each(names: Iterable[str], work: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(work, names))
