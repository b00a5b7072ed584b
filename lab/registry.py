"""The environment's image registry: over the cache's storage, on the lab's bridge."""

from __future__ import annotations

from lab import images, ports, registry_server
from lab.report import Report
from lab.settings import Settings


def ensure(settings: Settings, report: Report) -> None:
    """Have a registry that answers at the address that the machines use."""
    server = registry_server.daemon(settings.state)
    storage = images.registry_root(settings.cache)
    config = registry_server.configuration_file(settings.state)
    unchanged = config.exists() and config.read_text() == registry_server.configuration(
        storage, settings.registry
    )
    if unchanged and server.pid() is not None and registry_server.answers(settings.registry):
        return
    server.stop()
    require_port(settings)
    registry_server.start(settings.state, storage, settings.registry)
    report.changed(f"image registry at {settings.registry}")


def require_port(settings: Settings) -> None:
    """Refuse a port that another process has."""
    if registry_server.daemon(settings.state).pid() is None:
        ports.require_free(str(settings.host_address), settings.registry_port, "LAB_REGISTRY_PORT")


def stop(settings: Settings, report: Report) -> None:
    """End the registry; its storage stays in the cache."""
    if registry_server.daemon(settings.state).stop():
        report.changed("image registry stopped")
