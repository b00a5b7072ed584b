"""The image registry: Debian's docker-registry over the cache's storage, on the lab's bridge."""

from __future__ import annotations

import urllib.error
import urllib.request

import yaml

from lab import images, ports
from lab.daemon import Daemon
from lab.report import Report
from lab.settings import Settings

START_SECONDS = 30


def ensure(settings: Settings, report: Report) -> None:
    """Have a registry that answers at the address that the machines use."""
    server = _daemon(settings)
    config = settings.state / "registry.yml"
    text = configuration(settings)
    if config.exists() and config.read_text() == text and server.pid() is not None and _answers(settings):
        return
    server.stop()
    require_port(settings)
    config.write_text(text)
    # Without the variable it tries to send traces to a collector that is not there.
    command = ["env", "OTEL_TRACES_EXPORTER=none", "docker-registry", "serve", str(config)]
    server.start(command, lambda: _answers(settings), START_SECONDS)
    report.changed(f"image registry at {settings.registry}")


def require_port(settings: Settings) -> None:
    """Refuse a port that another process has."""
    if _daemon(settings).pid() is None:
        ports.require_free(str(settings.host_address), settings.registry_port, "LAB_REGISTRY_PORT")


def stop(settings: Settings, report: Report) -> None:
    """End the registry; its storage stays in the cache."""
    if _daemon(settings).stop():
        report.changed("image registry stopped")


def configuration(settings: Settings) -> str:
    """The registry's configuration file."""
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(images.registry_root(settings.cache))}},
            "http": {"addr": settings.registry},
        }
    )


def _daemon(settings: Settings) -> Daemon:
    return Daemon("registry", "docker-registry", settings.state)


def _answers(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"http://{settings.registry}/v2/", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
