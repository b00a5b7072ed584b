"""The life of an environment, from up to down, on real machines; the tests follow one another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import ENVIRONMENT, READ_DATA, WRITE_DATA, Lab, container, docker, machine_image

MACHINES = {"kafka-1", "processor-1", "producers-1", "producers-2"}
FOREIGN = "selftest-stranger"
TIMEOUT_SECONDS = 2
CONNECT = (
    "python3 -c 'import socket, sys; "
    f"socket.create_connection((sys.argv[1], int(sys.argv[2])), {TIMEOUT_SECONDS})'"
)
# A nested container's group is a child of the machine's; so is this one.
ALLOCATE = """
for base in /sys/fs/cgroup/memory /sys/fs/cgroup; do
  if [ -e $base/cgroup.procs ]; then break; fi
done
mkdir -p $base/nested && echo $$ > $base/nested/cgroup.procs
exec python3 -c 'import sys; bytearray(int(sys.argv[1]) * 2**20); print("had it")' {mib}
"""


@pytest.fixture(scope="module", autouse=True)
def stranger(lab: Lab) -> Iterator[None]:
    """A container and a network of somebody else."""
    docker("run", "--detach", "--rm", f"--name={FOREIGN}", machine_image(), "sleep", "600")
    docker("network", "create", FOREIGN)
    yield
    docker("rm", "--force", FOREIGN)
    docker("network", "rm", FOREIGN)


def listen(lab: Lab, machine: str, port: int) -> None:
    """Have a machine listen on a port."""
    lab.on(machine, f"systemd-run --quiet --unit=listen-{port} python3 -m http.server {port}")


def reaches(lab: Lab, machine: str, address: str, port: int) -> bool:
    """Whether a machine can connect."""
    return lab.on(machine, f"{CONNECT} {address} {port}").returncode == 0


def operator_reaches(address: str, port: int) -> bool:
    """Whether this computer can connect."""
    try:
        socket.create_connection((address, port), TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def within(seconds: float, lab: Lab, machine: str, script: str) -> bool:
    """Whether a script succeeds on a machine within a time."""
    deadline = time.monotonic() + seconds
    while lab.on(machine, script).returncode:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def test_up_gives_machines_that_answer_by_name_and_address(lab: Lab) -> None:
    assert set(lab.running_instances()) == MACHINES
    assert lab.ok("exec", "producers-2", "--", "hostname").strip() == "producers-2"
    assert lab.on("kafka-1", "id -un").stdout.strip() == "root"
    _, address = lab.running_instances()["kafka-1"]
    assert address in lab.on("kafka-1", "ip -4 -brief address show eth0").stdout


def test_exec_hands_on_words_and_status(lab: Lab) -> None:
    done = lab.run("exec", "kafka-1", "--", "sh", "-c", 'echo "two  words"; exit 7')
    assert (done.returncode, done.stdout) == (7, "two  words\n")


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = docker("inspect", "--format={{.Id}} {{.State.StartedAt}}", *map(container, sorted(MACHINES)))
    assert "nothing to change" in lab.ok("up")
    after = docker("inspect", "--format={{.Id}} {{.State.StartedAt}}", *map(container, sorted(MACHINES)))
    assert after == before


def test_ansible_finds_what_it_needs(lab: Lab) -> None:
    content = yaml.safe_load((lab.state / "ansible.yml").read_text())
    assert content["registry"] == "10.0.3.1:15201"
    assert all(Path(content[f"ssh_{key}_file"]).is_file() for key in ("private_key", "known_hosts"))


def test_status_shows_every_machine(lab: Lab) -> None:
    output = lab.ok("status")
    for name, (instance_id, address) in lab.running_instances().items():
        line = next(line for line in output.splitlines() if name in line)
        assert instance_id in line
        assert address in line
        assert "running" in line


def test_the_memory_limit_holds_for_nested_groups(lab: Lab) -> None:
    assert "had it" in lab.on("processor-1", ALLOCATE.format(mib=200)).stdout
    assert "had it" not in lab.on("processor-1", ALLOCATE.format(mib=700)).stdout
    assert "had it" in lab.on("kafka-1", ALLOCATE.format(mib=700)).stdout


def test_only_the_fleets_flows_pass(lab: Lab) -> None:
    address = {name: address for name, (_, address) in lab.running_instances().items()}
    for machine, port in (("kafka-1", 9092), ("kafka-1", 9099), ("processor-1", 8080)):
        listen(lab, machine, port)
        assert within(10, lab, machine, f"{CONNECT} 127.0.0.1 {port}")
    assert reaches(lab, "processor-1", address["kafka-1"], 9092)
    assert reaches(lab, "producers-2", address["kafka-1"], 9092)
    assert reaches(lab, "producers-1", *registry())
    assert operator_reaches(address["processor-1"], 8080)
    assert not reaches(lab, "processor-1", address["kafka-1"], 9099)
    assert not reaches(lab, "kafka-1", address["processor-1"], 8080)
    assert not reaches(lab, "kafka-1", address["processor-1"], 22)
    assert not operator_reaches(address["kafka-1"], 9092)


def registry() -> tuple[str, int]:
    """Where the machines reach the registry."""
    return "10.0.3.1", int(ENVIRONMENT["LAB_REGISTRY_PORT"])


def test_what_is_broken_is_repaired(lab: Lab) -> None:
    before = lab.running_instances()
    for name in ("ec2", "registry"):
        os.kill(daemon_pid(lab, name), signal.SIGKILL)
    docker("rm", "--force", container("processor-1"))
    docker("kill", container("producers-1"))
    docker("pause", container("producers-2"))
    subprocess.run(["iptables", "-w", "-F", "LAB-selftest"], check=True)
    subprocess.run(
        ["iptables", "-w", "-D", "DOCKER-USER", "-o", "lab-selftest", "-j", "LAB-selftest"], check=True
    )
    lab.ok("up")
    after = lab.running_instances()
    assert {name: address for name, (_, address) in after.items()} == {
        name: address for name, (_, address) in before.items()
    }
    assert reaches(lab, "processor-1", after["kafka-1"][1], 9092)
    assert not reaches(lab, "processor-1", after["kafka-1"][1], 9099)
    assert "nothing to change" in lab.ok("up")


def daemon_pid(lab: Lab, name: str) -> int:
    """The process of the environment that carries a mark."""
    mark = f"GPU_TOKEN_LAB_DAEMON={lab.state / name}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"{name} does not run")


def test_a_half_made_machine_is_made_anew(lab: Lab) -> None:
    labels = json.loads(docker("inspect", "--format={{json .Config.Labels}}", container("processor-1")))
    docker("rm", "--force", container("processor-1"))
    docker(
        "create",
        f"--name={container('processor-1')}",
        *(f"--label={key}={value}" for key, value in labels.items()),
        machine_image(),
    )
    lab.ok("up")
    assert lab.on("processor-1", "true").returncode == 0


def test_a_fleet_whose_network_is_gone_is_made_anew(lab: Lab) -> None:
    lab.on("kafka-1", WRITE_DATA.format(text="kept"))
    docker("kill", *map(container, sorted(MACHINES)))
    docker("network", "rm", f"gpu-token-{ENVIRONMENT['LAB_NAME']}")
    lab.ok("up")
    assert lab.on("kafka-1", READ_DATA).stdout == "kept\n"
    assert "nothing to change" in lab.ok("up")


def test_lost_state_is_written_again(lab: Lab) -> None:
    shutil.rmtree(lab.state)
    assert "given its keys again" in lab.ok("up")
    assert all(lab.on(machine, "true").returncode == 0 for machine in MACHINES)


def test_a_stopped_machine_is_no_running_instance(lab: Lab) -> None:
    before = lab.running_instances()["producers-2"]
    lab.ok("stop", "producers-2")
    assert "producers-2" not in lab.running_instances()
    done = lab.run("exec", "producers-2", "--", "true")
    assert (done.returncode, "start it with `lab start producers-2`" in done.stdout) == (1, True)
    lab.ok("start", "producers-2")
    assert lab.running_instances()["producers-2"] == before


def test_a_reboot_brings_the_machine_back_with_its_disk(lab: Lab) -> None:
    lab.on("kafka-1", "touch /root/marker /run/gone")
    lab.ok("reboot", "kafka-1")
    assert lab.on("kafka-1", "test -e /root/marker && ! test -e /run/gone").returncode == 0
    assert "had it" in lab.on("kafka-1", ALLOCATE.format(mib=100)).stdout


def test_a_replaced_machine_keeps_its_data_disk_alone(lab: Lab) -> None:
    lab.on("kafka-1", f"{WRITE_DATA.format(text='kept')}; touch /root/marker /var/lib/docker/marker")
    known_hosts = (lab.state / "ssh" / "known_hosts").read_text()
    (instance_id, address) = lab.running_instances()["kafka-1"]
    lab.ok("replace", "kafka-1")
    (new_instance_id, new_address) = lab.running_instances()["kafka-1"]
    assert new_instance_id != instance_id
    assert new_address != address
    assert (lab.state / "ssh" / "known_hosts").read_text() != known_hosts
    assert lab.on("kafka-1", READ_DATA).stdout == "kept\n"
    assert lab.on("kafka-1", "ls /root/marker /var/lib/docker/marker 2>/dev/null").stdout == ""
    listen(lab, "kafka-1", 9092)
    assert within(10, lab, "processor-1", f"{CONNECT} {new_address} 9092")
    assert "nothing to change" in lab.ok("up")


def test_a_data_disk_is_an_attached_volume(lab: Lab) -> None:
    volume_id = lab.data_volume("kafka-1")["VolumeId"]
    found = lab.on("kafka-1", "ls /dev/disk/by-id").stdout.strip()
    assert found == f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
    assert lab.on("processor-1", "ls /dev/disk").returncode != 0


def test_a_data_disk_keeps_its_id_and_data_when_the_api_and_the_loop_device_are_lost(lab: Lab) -> None:
    before = lab.data_volume("kafka-1")["VolumeId"]
    lab.on("kafka-1", WRITE_DATA.format(text="kept"))
    docker("kill", container("kafka-1"))
    os.kill(daemon_pid(lab, "ec2"), signal.SIGKILL)
    loops = loop_devices()
    subprocess.run(["losetup", "--detach", *loops], check=True)
    Path("/dev/gpu-token-lab/selftest/kafka-1").unlink()
    lab.ok("up")
    assert lab.data_volume("kafka-1")["VolumeId"] == before
    assert lab.on("kafka-1", READ_DATA).stdout == "kept\n"
    assert "nothing to change" in lab.ok("up")


def loop_devices() -> list[str]:
    """The loop devices of the environment."""
    lines = subprocess.run(
        ["losetup", "--noheadings", "--output=NAME,BACK-FILE"], text=True, capture_output=True, check=True
    ).stdout.splitlines()
    return [line.split()[0] for line in lines if "/gpu-token-lab/selftest/" in line]


def test_a_data_disk_grows_with_the_fleet_file_and_does_not_shrink(lab: Lab) -> None:
    size = "blockdev --getsize64 /dev/disk/by-id/nvme-*"
    gib = lab.data_volume("kafka-1")["Size"]
    lab.change_fleet(kafka={"data_disk_gib": gib + 5})
    assert f"kafka-1: data disk grown to {gib + 5} GiB" in lab.ok("up")
    assert lab.on("kafka-1", size).stdout.strip() == str((gib + 5) * 2**30)
    assert lab.data_volume("kafka-1")["Size"] == gib + 5
    assert "nothing to change" in lab.ok("up")
    lab.change_fleet(kafka={"data_disk_gib": gib})
    done = lab.run("up")
    assert done.returncode == 1
    assert f"kafka-1's data disk has {gib + 5} GiB and cannot shrink to {gib}" in done.stdout
    lab.change_fleet(kafka={"data_disk_gib": gib + 5})


def test_the_fleet_shrinks_and_grows_with_its_file(lab: Lab) -> None:
    lab.change_fleet(producers={"count": 1}, processor={"memory_mib": 1024})
    lab.ok("up")
    assert set(lab.running_instances()) == MACHINES - {"producers-2"}
    assert "producers-2" not in docker("ps", "--all", "--format={{.Names}}")
    assert "had it" in lab.on("processor-1", ALLOCATE.format(mib=700)).stdout


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (["up", "grafana-1"], {}, '"grafana-1" is no machine of fleet.yml: use one of kafka-1,'),
        (["reboot", "kafka-9"], {}, '"kafka-9" is no machine of fleet.yml: use one of kafka-1,'),
        (["up"], {"LAB_NAME": "selftestb"}, "LAB_EC2_PORT 15200 cannot be used on 127.0.0.1"),
        (
            ["up"],
            {"LAB_NAME": "selftestb", "LAB_EC2_PORT": "15210", "LAB_REGISTRY_PORT": "15211"},
            "LAB_SUBNET 10.0.3.0/24 overlaps the route to 10.0.3.0/24 on lab-selftest",
        ),
        (
            ["up"],
            {"LAB_SUBNET": "10.0.4.0/24"},
            "is up in 10.0.3.0/24, not in 10.0.4.0/24: run `lab down` first",
        ),
        (["status"], {"LAB_NAME": "selftestb"}, "no machine of selftestb is up: run `lab up`."),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    lab: Lab, arguments: list[str], environ: dict[str, str], sentence: str
) -> None:
    done = lab.run(*arguments, **environ)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    assert not lab.state.with_name("selftestb").exists()


def test_down_leaves_nothing_and_nobody_else_notices(lab: Lab) -> None:
    lab.ok("down")
    assert "gpu-token-selftest" not in docker("ps", "--all", "--format={{.Names}}")
    assert "gpu-token-selftest" not in docker("volume", "ls", "--format={{.Name}}")
    assert "gpu-token-selftest" not in docker("network", "ls", "--format={{.Name}}")
    assert (
        "selftest" not in subprocess.run(["iptables-save"], text=True, capture_output=True, check=True).stdout
    )
    for name in ("ec2", "registry"):
        with pytest.raises(AssertionError, match="does not run"):
            daemon_pid(lab, name)
    assert not lab.state.exists()
    assert loop_devices() == []
    assert not any(Path(folder, "gpu-token-lab", "selftest").exists() for folder in ("/dev", "/var/lib"))
    assert docker("inspect", "--format={{.State.Running}}", FOREIGN) == "true"
    assert FOREIGN in docker("network", "ls", "--format={{.Name}}")
    assert "nothing to change" in lab.ok("down")
    assert not lab.state.exists()
