"""What `discover` finds: real processes that listen, and a script in place of nvidia-smi.

The script is the one part that is not real here, since no GPU is at hand: it prints what nvidia-smi would
print of these processes, built from its documented formats.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from gpu_token_producers.cli import app
from gpu_token_producers.discovery import plan
from gpu_token_producers.discovery.gpus import cards, uses
from gpu_token_producers.discovery.plan import Found, discover
from gpu_token_producers.discovery.probe import engine_at, exporter_at
from gpu_token_producers.discovery.processes import circles, ports_by_option
from gpu_token_producers.sources.gpus.nvidia_smi_command import NoDriver
from gpu_token_producers.sources.settings import Sources
from typer.testing import CliRunner

A = "GPU-11111111-aaaa-4bbb-8ccc-000000000001"
B = "GPU-22222222-aaaa-4bbb-8ccc-000000000002"
C = "GPU-33333333-aaaa-4bbb-8ccc-000000000003"
GPUS = f"0, {A}, NVIDIA H100 80GB HBM3\n1, {B}, NVIDIA H100 80GB HBM3\n"
PROGRAM = Path(__file__).parent / "producers_gpu_machine.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A process of producers_gpu_machine.py."""

    def __init__(self, kind: str, workers: int = 0, *, told: bool = True) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, str(PROGRAM), kind, "--port", str(self.port), "--workers", str(workers)]
        if not told:
            # Nothing on the command line says the port.
            code = f"sys.argv = {command[1:]!r}; runpy.run_path({str(PROGRAM)!r}, None, '__main__')"
            code = f"import runpy, sys; {code}"
            command = [sys.executable, "-c", code]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROGRAM.parent)
        assert self.process.stdout is not None
        self.workers: list[int] = json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        for process in [psutil.Process(self.process.pid), *children]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Machine:
    """What runs, and a nvidia-smi that speaks of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Running] = []
        self.gpus = GPUS
        self.apps = ""
        self.mig = f"{A}, Disabled\n{B}, Disabled\n"
        self.xml = ""

    def run(self, kind: str, workers: int = 0, *, told: bool = True) -> Running:
        running = Running(kind, workers, told=told)
        self._running.append(running)
        return running

    def uses(self, card: str, pid: int, name: str = "VLLM::EngineCore") -> None:
        self.apps += f"{card}, {pid}, {name}\n"

    @property
    def command(self) -> list[str]:
        path = self._folder / "nvidia-smi"
        answers = {
            "--query-gpu=index,uuid,name --format=csv,noheader": self.gpus,
            "--query-compute-apps=gpu_uuid,pid,process_name --format=csv,noheader": self.apps,
            "--query-gpu=uuid,mig.mode.current --format=csv,noheader": self.mig,
            "-q -x": self.xml,
        }
        cases = "".join(
            f"{shlex.quote(asked)}) printf %s {shlex.quote(said)};;\n" for asked, said in answers.items()
        )
        path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) echo "not asked for: $*"; exit 2;;\nesac\n')
        path.chmod(0o755)
        return [str(path)]

    def look(self, **more: Any) -> Found:
        return discover("gpu-a", command=self.command, **more)

    def stop(self) -> None:
        for running in self._running:
            running.stop()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    # What else runs on this computer is no part of the test.
    monkeypatch.setattr(plan, "ENGINE_PORTS", frozenset())
    monkeypatch.setattr(plan, "EXPORTER_PORTS", ())
    made = Machine(tmp_path)
    yield made
    made.stop()


def test_an_engine_and_the_gpus_of_its_workers(machine: Machine) -> None:
    chat = machine.run("vllm", workers=2)
    machine.uses(A, chat.workers[0])
    machine.uses(B, chat.workers[1])
    found = machine.look()
    deployment = f"gpu-a:{chat.port}"
    assert found.notices == []
    assert found.sources == [
        {
            "name": f"vllm-{chat.port}",
            "type": "vllm",
            "target": f"{chat.url}/metrics",
            "labels": {"host": "gpu-a", "deployment": deployment, "gpu_uuids": [A, B]},
        },
        {
            "name": "gpus",
            "type": "nvidia_smi",
            "labels": {"host": "gpu-a"},
            "deployments": {A: deployment, B: deployment},
        },
    ]


def test_engines_of_each_type_are_told_apart(machine: Machine) -> None:
    kinds = ("vllm", "sglang", "nim", "tgi", "llamacpp")
    running = {kind: machine.run(kind) for kind in kinds}
    found = {kind: engine_at(running[kind].url) for kind in kinds}
    assert {kind: engine.type if engine else None for kind, engine in found.items()} == {k: k for k in kinds}
    assert {engine.path for kind, engine in found.items() if engine and kind != "nim"} == {"/metrics"}
    assert found["nim"] is not None
    assert found["nim"].path == "/v1/metrics"
    assert [found[kind].model for kind in ("vllm", "tgi", "llamacpp")] == [None, "org/chat", "chat.gguf"]  # type: ignore[union-attr]


def test_what_is_no_engine_and_no_exporter(machine: Machine) -> None:
    page, chat = machine.run("page"), machine.run("vllm")
    assert engine_at(page.url) is None
    assert exporter_at(page.url) is None
    assert exporter_at(chat.url) is None
    assert engine_at(f"http://127.0.0.1:{free_port()}") is None


def test_two_engines_are_two_deployments(machine: Machine) -> None:
    chat, embed = machine.run("vllm", workers=1), machine.run("llamacpp", workers=0)
    machine.uses(A, chat.workers[0])
    machine.uses(B, embed.process.pid, "llama-server")
    found = machine.look(names={chat.port: "chat"})
    assert found.notices == []
    assert found.sources[-1]["deployments"] == {A: "chat", B: f"gpu-a:{embed.port}"}
    assert {source["labels"].get("model") for source in found.sources} == {None, "chat.gguf"}


def test_engines_that_share_a_gpu_are_one_deployment(machine: Machine) -> None:
    chat, embed = machine.run("vllm", workers=1), machine.run("vllm", workers=1)
    machine.uses(A, chat.workers[0])
    machine.uses(A, embed.workers[0])
    found = machine.look(names={chat.port: "chat", embed.port: "embed"})
    assert [source["labels"].get("deployment") for source in found.sources] == ["chat", "chat", None]
    assert found.sources[-1]["deployments"] == {A: "chat"}
    assert found.notices == [
        f"The engines at ports {min(chat.port, embed.port)}, {max(chat.port, embed.port)} share GPUs and so "
        "are one deployment: it is called chat, not embed."
    ]


def test_a_gpu_of_something_else_is_named(machine: Machine) -> None:
    page = machine.run("page", workers=1)
    machine.uses(A, page.workers[0], "python3")
    machine.uses(B, 2**22 + 1, "gone, with a comma")
    found = machine.look()
    assert [source["name"] for source in found.sources] == ["gpus"]
    assert "deployments" not in found.sources[0]
    assert [
        f"({name})" in notice
        for name, notice in zip(("python3", "gone, with a comma"), found.notices, strict=True)
    ] == [True, True]


def test_a_port_that_nothing_names_must_be_given(machine: Machine) -> None:
    chat = machine.run("vllm", workers=1, told=False)
    machine.uses(A, chat.workers[0])
    assert "give its port by --port" in machine.look().notices[0]
    found = machine.look(ports=[chat.port])
    assert (found.notices, found.sources[-1]["deployments"]) == ([], {A: f"gpu-a:{chat.port}"})


def test_an_engine_at_a_usual_port_without_a_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = machine.run("vllm")
    monkeypatch.setattr(plan, "ENGINE_PORTS", frozenset({chat.port}))
    found = machine.look()
    assert found.sources[0]["labels"] == {"host": "gpu-a", "deployment": f"gpu-a:{chat.port}"}
    assert "uses no GPU that nvidia-smi shows" in found.notices[0]


@pytest.mark.parametrize("kind", ["dcgm", "nvidia_gpu_exporter"])
def test_an_exporter_is_read_rather_than_nvidia_smi(
    kind: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, chat = machine.run(kind), machine.run("vllm", workers=1)
    monkeypatch.setattr(plan, "EXPORTER_PORTS", (free_port(), exporter.port))
    machine.uses(A, chat.workers[0])
    machine.gpus += f"2, {C}, NVIDIA H100 80GB HBM3\n"
    found = machine.look()
    assert found.sources[-1] == {
        "name": "gpus",
        "type": kind,
        "target": f"{exporter.url}/metrics",
        "labels": {"host": "gpu-a"},
        "deployments": {A: f"gpu-a:{chat.port}"},
    }
    assert found.notices == [f"The {kind} exporter does not report {C}."]


def mig_xml(card: str, *uses: tuple[int, int]) -> str:
    processes = "".join(
        f"<process_info><gpu_instance_id>{instance}</gpu_instance_id><compute_instance_id>0</compute_instance_id>"
        f"<pid>{pid}</pid><type>C</type><process_name>python</process_name></process_info>"
        for pid, instance in uses
    )
    return (
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n<nvidia_smi_log>'
        f'<gpu id="00000000:8D:00.0"><product_name>NVIDIA H100 80GB HBM3</product_name><uuid>{card}</uuid>'
        f"<processes>{processes}</processes></gpu></nvidia_smi_log>"
    )


def test_engines_on_two_slices_of_a_card(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, small, exporter = machine.run("vllm", 1), machine.run("vllm", 1), machine.run("dcgm-mig")
    # nvidia-smi names the card of a process; only its XML names the slice.
    machine.uses(A, chat.workers[0])
    machine.uses(A, small.workers[0])
    machine.mig = f"{A}, Enabled\n{B}, Disabled\n"
    machine.xml = mig_xml(A, (chat.workers[0], 1), (small.workers[0], 13))
    named = {chat.port: "chat", small.port: "small"}
    # Read by nvidia-smi the card is one GPU, and the engines share it.
    assert machine.look(names=named).sources[-1]["deployments"] == {A: "chat"}
    monkeypatch.setattr(plan, "EXPORTER_PORTS", (exporter.port,))
    found = machine.look(names=named)
    assert found.notices == []
    assert found.sources[-1]["deployments"] == {f"MIG-{A}:1": "chat", f"MIG-{A}:13": "small"}
    assert [source["labels"].get("gpu_uuids") for source in found.sources[:-1]] in (
        [[f"MIG-{A}:1"], [f"MIG-{A}:13"]],
        [[f"MIG-{A}:13"], [f"MIG-{A}:1"]],
    )


def test_an_old_driver_knows_no_mig(machine: Machine) -> None:
    machine.uses(A, 4711, "python")
    command = machine.command
    script = Path(command[0])
    script.write_text(script.read_text().replace("uuid,mig.mode.current", "never"))
    assert [use.slices for use in uses(command)] == [()]


def test_a_process_is_looked_for_in_ever_wider_circles(machine: Machine) -> None:
    chat = machine.run("vllm", workers=2)
    narrow, wide, *_ = circles(chat.workers[0])
    assert narrow == {chat.workers[0]}
    assert wide == {chat.process.pid, *chat.workers}
    assert ports_by_option(wide) == {chat.port}
    # No circle reaches across a shell, which starts unrelated programs.
    shell = subprocess.Popen(["bash", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    try:
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        assert list(circles(child)) == [{child}]
        psutil.Process(child).kill()
    finally:
        shell.kill()
        shell.communicate()


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare"))), reason="needs root, ip and unshare"
)
def test_an_engine_in_a_container_is_found_by_the_port_that_docker_publishes(
    machine: Machine, tmp_path: Path
) -> None:
    # A process in a network of its own, as a container has it.
    network = "ip link set lo up; ip addr add 172.31.9.2/32 dev lo; echo up; exec cat"
    inside = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", network], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    # Two programs of the name of Docker's proxy: for its container, and for another with an engine.
    program = tmp_path / "docker-proxy"
    program.symlink_to(sys.executable)
    port, other = free_port(), free_port()
    proxies = [
        docker_proxy(program, own_port, address)
        for own_port, address in ((port, "172.31.9.2"), (other, "172.31.9.3"))
    ]
    try:
        assert inside.stdout is not None
        assert inside.stdout.readline() == b"up\n"
        machine.uses(A, inside.pid)
        found = machine.look()
        assert found.notices == []
        assert found.sources[-1]["deployments"] == {A: f"gpu-a:{port}"}
        assert [source["name"] for source in found.sources] == [f"vllm-{port}", "gpus"]
    finally:
        for process in (inside, *proxies):
            process.kill()
            process.communicate()


def docker_proxy(program: Path, port: int, address: str) -> "subprocess.Popen[bytes]":
    """Serves vLLM's metrics itself, under the name and with the arguments of Docker's proxy."""
    words = f"-proto tcp -host-ip 127.0.0.1 -host-port {port} -container-ip {address} -container-port 8000"
    code = f"import runpy, sys; sys.path[:0] = {sys.path!r}; sys.argv = ['', 'vllm', '--port', '{port}']"
    process = subprocess.Popen(
        [program, "-c", f"{code}; runpy.run_path({str(PROGRAM)!r}, None, '__main__')", *words.split()],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"[]\n"
    return process


def test_the_command_prints_what_collect_reads(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = machine.run("vllm", workers=1)
    machine.uses(A, chat.workers[0])
    machine.uses(B, 2**22 + 1)
    monkeypatch.setenv("PATH", str(Path(machine.command[0]).parent), prepend=":")
    ran = CliRunner().invoke(app, ["discover", "--host", "gpu-a", "--deployment", f"{chat.port}=chat"])
    assert ran.exit_code == 0, ran.output
    assert "none of its ports answers" in ran.stderr
    sources = Sources.model_validate(yaml.safe_load(ran.stdout))
    assert [source.labels.deployment for source in sources.sources] == ["chat", None]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--deployment", "chat"], "give PORT=NAME"),
        (["--deployment", "99999=chat"], "give PORT=NAME"),
        (["--port", "0"], "--port"),
    ],
)
def test_a_wrong_option_is_refused(arguments: list[str], said: str) -> None:
    ran = CliRunner().invoke(app, ["discover", *arguments])
    assert (ran.exit_code, said in ran.stderr) == (2, True)


def test_without_a_driver_it_says_so_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = CliRunner().invoke(app, ["discover", "--host", "gpu-a"])
    assert ran.exit_code == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("This machine has no NVIDIA driver: nvidia-smi cannot be run")
    assert len(ran.stderr.splitlines()) == 1


def test_a_driver_without_a_gpu(machine: Machine) -> None:
    machine.gpus = "No devices were found\n"
    with pytest.raises(NoDriver, match=r"no GPU: .* says 'No devices were found'"):
        cards(machine.command)
