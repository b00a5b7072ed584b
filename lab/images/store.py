"""The image registry's storage on disk: what it holds, and a registry over it for a push or a pull."""

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.images.errors import ImageError

REGISTRY = "docker-registry"
START_SECONDS = 10.0


def registry_root(cache: Path) -> Path:
    """The storage folder (``storage.filesystem.rootdirectory``) below the cache."""
    return cache / "registry"


def holds(root: Path, repository: str, tag: str) -> bool:
    """True when the tag and the manifest it names are there; the registry writes the tag last."""
    registry = root / "docker" / "registry" / "v2"
    link = registry / "repositories" / repository / "_manifests" / "tags" / tag / "current" / "link"
    try:
        algorithm, _, value = link.read_text().strip().partition(":")
    except OSError:
        return False
    return (registry / "blobs" / algorithm / value[:2] / value / "data").is_file()


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """Serve the storage on a free port of 127.0.0.1 for as long as the block runs; yields host:port."""
    root.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{_free_port()}"
    with tempfile.TemporaryDirectory(prefix="lab-registry-") as folder:
        config, log = Path(folder, "config.yml"), Path(folder, "log")
        config.write_text(
            "version: 0.1\n"
            "log: {level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: '{root}'}}}}\n"
            f"http: {{addr: '{address}'}}\n"
        )
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    [REGISTRY, "serve", str(config)],
                    stdout=output,
                    stderr=output,
                    env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
                )
            except FileNotFoundError as missing:
                raise ImageError(f"{REGISTRY} is not installed; run make setup-lab.") from missing
        try:
            _wait(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
    raise ImageError(
        f"{REGISTRY} did not answer on {address} within {START_SECONDS:.0f} s; it last said: {last}"
    )
