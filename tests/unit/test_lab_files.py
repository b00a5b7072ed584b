"""The files that the lab writes, and the processes that it starts."""

import io
import os
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
import yaml

from fleet.model import load
from lab import handover, lock, registry_server
from lab.daemon import Daemon
from lab.errors import LabError
from lab.images import ImageSet, registry_root
from lab.report import Report
from lab.seed import Seed
from lab.settings import from_environment
from lab.ssh import Keys

FLEET = load(Path(__file__).parents[2] / "fleet.yml")
BUILT = ImageSet(
    "machine:1", "gpu-token/kafka:4.1.1", "gpu-token/mongo:7.0", "gpu-token/python:3.13", "built"
)


def test_ansible_is_told_references_that_a_machine_can_pull(tmp_path: Path) -> None:
    settings = from_environment({}, FLEET, tmp_path)
    content = handover.content(settings, Keys(settings.state), BUILT)
    assert content == {
        "ssh_private_key_file": f"{tmp_path}/.lab/lab/ssh/id_ed25519",
        "ssh_known_hosts_file": f"{tmp_path}/.lab/lab/ssh/known_hosts",
        "registry": "10.0.1.1:15001",
        "images": {
            "kafka": "10.0.1.1:15001/gpu-token/kafka:4.1.1",
            "mongo": "10.0.1.1:15001/gpu-token/mongo:7.0",
            "python": "10.0.1.1:15001/gpu-token/python:3.13",
        },
        "images_from": "built",
        "sources": [],
    }


def test_official_images_are_the_fleets(tmp_path: Path) -> None:
    settings = from_environment({}, FLEET, tmp_path)
    images = FLEET.images
    official = ImageSet("machine:1", images.kafka, images.mongo, images.python, "official")
    assert handover.content(settings, Keys(settings.state), official)["images"] == images.model_dump()


def test_the_registry_serves_the_caches_storage(tmp_path: Path) -> None:
    settings = from_environment({"LAB_CACHE": str(tmp_path / "it's here")}, FLEET, tmp_path)
    storage = registry_root(settings.cache)
    config = yaml.safe_load(registry_server.configuration(storage, settings.registry))
    assert config["storage"]["filesystem"]["rootdirectory"].startswith(str(tmp_path / "it's here"))
    assert config["http"]["addr"] == settings.registry


def test_a_seed_gives_each_file_to_its_owner() -> None:
    data = Seed("ssh-ed25519 A", "PRIVATE\n", "ssh-ed25519 B").archive()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        entries = {(entry.name, oct(entry.mode), entry.uid) for entry in archive}
    assert entries == {
        ("home/ubuntu/.ssh", "0o700", 1000),
        ("home/ubuntu/.ssh/authorized_keys", "0o600", 1000),
        ("etc/ssh/ssh_host_ed25519_key", "0o600", 0),
        ("etc/ssh/ssh_host_ed25519_key.pub", "0o644", 0),
    }


def test_a_daemon_is_found_and_ended_by_its_mark(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", "sleep", tmp_path)
    assert daemon.pid() is None
    daemon.start(["sleep", "60"], lambda: daemon.pid() is not None, 5)
    assert Daemon("other", "sleep", tmp_path).pid() is None
    assert daemon.stop()
    assert not daemon.stop()


def test_a_daemon_that_will_not_end_is_killed(tmp_path: Path) -> None:
    program = Path(os.path.realpath(sys.executable)).name
    daemon = Daemon("stubborn", program, tmp_path)
    ready = tmp_path / "ready"
    code = f"import signal, time, pathlib; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN); "
    code += f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    daemon.start([os.path.realpath(sys.executable), "-c", code], ready.exists, 10)
    assert daemon.stop(timeout_seconds=0.3)
    assert daemon.pid() is None


def test_a_daemon_that_ends_at_once_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"broken ended at once \(status 1\): see .*broken\.log\."):
        Daemon("broken", "false", tmp_path).start(["false"], lambda: False, 5)


def test_a_lock_outlives_the_removal_of_its_folder(tmp_path: Path) -> None:
    folder, order = tmp_path / "state", list[str]()

    def second() -> None:
        with lock.held(folder, Report()):
            order.append("second")

    with lock.held(folder, Report()):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        folder.rmdir()
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert not folder.exists()


def test_keys_are_made_once_and_host_keys_forgotten_on_request(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    operator, host = keys.operator_public(), keys.host_key("kafka-1")
    assert (keys.operator_public(), keys.host_key("kafka-1")) == (operator, host)
    keys.forget("kafka-1")
    assert keys.host_key("kafka-1") != host
