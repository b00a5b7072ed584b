"""Debian's docker-registry as a process over a folder of images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from lab.daemon import Daemon
from lab.daemon import answers as http_answers
from lab.ports import free_port

START_SECONDS = 30


def daemon(folder: Path) -> Daemon:
    """The registry whose configuration and log lie in the folder."""
    return Daemon("registry", "docker-registry", folder)


def configuration(storage: Path, address: str) -> str:
    """Its configuration file."""
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(storage)}},
            "http": {"addr": address},
        }
    )


def configuration_file(folder: Path) -> Path:
    """Where its configuration lies."""
    return folder / "registry.yml"


def start(folder: Path, storage: Path, address: str) -> None:
    """Start it and wait until it answers."""
    config = configuration_file(folder)
    config.write_text(configuration(storage, address))
    # Without the variable it tries to send traces to a collector that is not there.
    command = ["env", "OTEL_TRACES_EXPORTER=none", "docker-registry", "serve", str(config)]
    daemon(folder).start(command, lambda: answers(address), START_SECONDS)


@contextmanager
def serving(storage: Path) -> Iterator[str]:
    """One for a push or a pull, until the end of the block; yields its host:port."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="lab-registry-") as folder:
        try:
            start(Path(folder), storage, address)
            yield address
        finally:
            daemon(Path(folder)).stop()


def answers(address: str) -> bool:
    """Whether it answers."""
    return http_answers(f"http://{address}/v2/")
