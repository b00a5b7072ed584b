"""A collector of the drill's own on the producers' machine, and a gateway that reports to it.

Both run in the producers' image, with their settings, login and limits.
"""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from drill.load import Load
from drill.service import Service
from drill.site import Site
from lab import shell
from lab.settings import ROOT

CONTAINER = "drill-collector"
GATEWAY = "drill-gateway"
_INTAKE_PORT = 8088
_CALLS_PER_SECOND = 20.0
_FOLDER = "/var/lib/gpu-token/producers/drill"
# Where the containers see the folder's parts.
_CONFIG, _STATE = "/etc/gpu-token-drill", "/var/lib/gpu-token-drill"
_SENDER = Path(__file__).parent.parent / "remote" / "send_calls.py"
# What the sender imports.
_MODULES = ("lab/__init__.py", "lab/workload/__init__.py", "lab/workload/gateway.py")


class Collector(Service):
    """`gpu-token-producers collect`, restarted by Docker as the producers are."""

    @classmethod
    def of(cls, site: Site) -> Collector:
        """On the machine of the producers."""
        return cls(site.producers.settings, site.producers.machine, CONTAINER)

    @contextmanager
    def running(self, site: Site, run: str, engine: str) -> Iterator[None]:
        """Until the end of the block. `engine` is its address, host:port; `run` is the host of all events."""
        self.remove()
        self._write(site.producers, _files(run, engine))
        options = ["--detach", f"--volume={_FOLDER}/config:{_CONFIG}:ro"]
        options += [f"--volume={_FOLDER}/state:{_STATE}", f"--env=COLLECT_STATE_DIR={_STATE}"]
        try:
            shell.run(
                self.on_machine(
                    *site.command("producers", CONTAINER, options, ["collect", f"{_CONFIG}/sources.yml"])
                )
            )
            self.docker("update", "--restart=unless-stopped", CONTAINER)
            yield
        finally:
            self.remove()

    @contextmanager
    def gateway(self, site: Site, seed: str) -> Iterator[Load]:
        """Report calls to the intake until the end of the block."""
        options = ["--rm", "--entrypoint=python", f"--env=PYTHONPATH={_CONFIG}"]
        options += [f"--volume={_FOLDER}/config:{_CONFIG}:ro"]
        arguments = [
            f"--intake=http://{CONTAINER}:{_INTAKE_PORT}/v1/litellm",
            f"--token-file={_CONFIG}/token",
        ]
        arguments += [f"--per-second={_CALLS_PER_SECOND}", f"--seed={seed}"]
        command = site.command("producers", GATEWAY, options, ["-", *arguments])
        load = Load(site.producers, command, GATEWAY, _SENDER)
        try:
            yield load
        finally:
            load.remove()

    def log(self) -> bytes:
        """What it said, over all its restarts."""
        done = shell.attempt(self.on_machine("docker", "logs", "--timestamps", CONTAINER))
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Remove both containers and their folder, whatever happened."""
        shell.attempt(self.on_machine("docker", "rm", "--force", GATEWAY, CONTAINER))
        shell.attempt(self.on_machine("rm", "-rf", _FOLDER))

    def _write(self, producers: Service, files: dict[str, bytes]) -> None:
        user = int(
            producers.docker("inspect", "--format={{.Config.User}}", producers.container).split(":")[0]
        )
        shell.run(self.on_machine("mkdir", "-p", _FOLDER))
        shell.run(self.on_machine("tar", "-x", "-C", _FOLDER), stdin=_packed(files, user))


def _files(run: str, engine: str) -> dict[str, bytes]:
    labels = {"host": run}
    target = f"http://{engine}/metrics"
    sources = {
        "intake": {"port": _INTAKE_PORT, "token_file": f"{_CONFIG}/token"},
        "sources": [
            {"name": "engine", "type": "vllm", "target": target, "interval_seconds": 1, "labels": labels},
            {"name": "gateway", "type": "litellm", "labels": labels},
        ],
    }
    files = {f"config/{name}": (ROOT / name).read_bytes() for name in _MODULES}
    files["config/sources.yml"] = yaml.safe_dump(sources, sort_keys=False).encode()
    files["config/token"] = secrets.token_urlsafe(32).encode()
    return files


def _packed(files: dict[str, bytes], user: int) -> bytes:
    """A tar archive in which all belongs to the user and nobody else may read it."""
    packed = io.BytesIO()
    folders = {str(parent) for name in files for parent in Path(name).parents if parent != Path()}
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in sorted(folders | {"state"} | set(files)):
            entry = tarfile.TarInfo(name)
            entry.uid = entry.gid = user
            if name in files:
                entry.mode, entry.size = 0o400, len(files[name])
                archive.addfile(entry, io.BytesIO(files[name]))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                archive.addfile(entry)
    return packed.getvalue()
