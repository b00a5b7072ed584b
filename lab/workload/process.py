"""The workload as a process of one lab environment."""

from __future__ import annotations

import sys
from ipaddress import IPv4Network
from pathlib import Path

from fleet.model import Fleet
from lab.daemon import Daemon, answers
from lab.report import Report
from lab.settings import Settings
from lab.workload import plan

PROGRAM = "python"
START_SECONDS = 30


def want(settings: Settings) -> None:
    """Give the environment a workload, from its next `lab up` on."""
    _marker(settings).touch()


def ensure(settings: Settings, report: Report) -> None:
    """Have it running at this computer's address in the lab's network."""
    address = str(settings.host_address)
    url = f"http://{address}:{plan.EXPORTER_PORT}/metrics"
    daemon = _daemon(settings)
    if daemon.pid() is not None and answers(url):
        return
    daemon.stop()
    daemon.start([sys.executable, "-m", "lab.workload", address], lambda: answers(url), START_SECONDS)
    report.changed(f"workload: engines, GPU exporter and gateway at {address}")


def stop(settings: Settings, report: Report) -> None:
    """End it."""
    if _daemon(settings).stop():
        report.changed("workload stopped")


def wanted(settings: Settings) -> bool:
    """Whether the environment has a workload."""
    return _marker(settings).exists()


def beside(fleet: Fleet, settings: Settings) -> Fleet:
    """The fleet as it is with this computer among its gateways, if the workload's gateway stands here."""
    if not wanted(settings):
        return fleet
    gateways = (*fleet.outside.get(plan.GATEWAYS, ()), IPv4Network(settings.host_address))
    return fleet.model_copy(update={"outside": {**fleet.outside, plan.GATEWAYS: gateways}})


def _marker(settings: Settings) -> Path:
    return settings.state / "workload"


def _daemon(settings: Settings) -> Daemon:
    return Daemon("workload", PROGRAM, settings.state)
