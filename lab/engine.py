"""The container engine: used if it runs, otherwise started by hand and remembered as ours."""

from __future__ import annotations

from pathlib import Path

from lab import shell
from lab.daemon import Daemon
from lab.errors import LabError
from lab.report import Report
from lab.waiting import until

START_SECONDS = 60
STOP_SECONDS = 60
_PID_FILES = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}


def answers() -> bool:
    """Whether an engine answers."""
    return shell.succeeds(["docker", "version", "--format", "{{.Server.Version}}"], timeout_seconds=10)


def ensure(folder: Path, report: Report) -> None:
    """An engine that answers; its log and pid file lie in ``folder`` if it had to be started."""
    if answers():
        return
    if running := stale_or_running("dockerd"):
        until(answers, f"dockerd runs (process {running}) but does not answer", START_SECONDS, "restart it")
        return
    # dockerd reuses a containerd that a killed engine left alive, but trusts the pid files blindly.
    stale_or_running("containerd")
    _daemon(folder).start(["dockerd"], answers, START_SECONDS)
    report.changed("container engine started")


def stop_if_ours(folder: Path, report: Report) -> None:
    """Stop the engine if the lab started it and nothing runs in it any more."""
    daemon = _daemon(folder)
    if daemon.pid() is None:
        return
    environments = [entry for entry in folder.iterdir() if entry.is_dir()]
    if environments or shell.run(["docker", "ps", "--quiet"]).strip():
        report.note("the container engine goes on: other containers run in it")
        return
    daemon.stop(STOP_SECONDS)
    daemon.log.unlink(missing_ok=True)
    report.changed("container engine stopped")


def require() -> None:
    """Raise a sentence if no engine answers."""
    if not answers():
        raise LabError("no container engine runs, so no machine does: run `lab up`.")


def stale_or_running(program: str) -> int | None:
    """The pid of a living ``program`` by its pid file; a stale file is removed."""
    path = _PID_FILES[program]
    try:
        pid = int(path.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == program:
            return pid
    except (OSError, ValueError):
        pass
    path.unlink(missing_ok=True)
    return None


def _daemon(folder: Path) -> Daemon:
    return Daemon("engine", "dockerd", folder)
