"""The process that serves the EC2 API (lab/aws_api.py), and its clients."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import boto3

from lab import daemon, ports
from lab.report import Report
from lab.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

REGION = "us-east-1"
PROGRAM = "moto_server"
"""The name of the API's process."""
START_SECONDS = 60


def ensure(settings: Settings, report: Report) -> None:
    """The API server, on this computer's loopback address only."""
    server = _daemon(settings)
    if server.pid() is not None and answers(settings):
        return
    server.stop()
    require_port(settings)
    parameters = str(settings.state / "parameters.json")
    command = [sys.executable, "-m", "lab.aws_api", str(settings.ec2_port), parameters]
    server.start(command, lambda: answers(settings), START_SECONDS)
    report.changed(f"EC2 API at {settings.ec2_url}")


def require_port(settings: Settings) -> None:
    """Refuse a port that another process has."""
    if _daemon(settings).pid() is None:
        ports.require_free("127.0.0.1", settings.ec2_port, "LAB_EC2_PORT")


def stop(settings: Settings, report: Report) -> None:
    """End the API server, and with it what was registered."""
    if _daemon(settings).stop():
        report.changed("EC2 API stopped")


def client(settings: Settings) -> EC2Client:
    """A client of the environment's API."""
    return boto3.client(
        "ec2",
        endpoint_url=settings.ec2_url,
        region_name=REGION,
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )


def answers(settings: Settings) -> bool:
    """Whether the API answers."""
    return daemon.answers(f"{settings.ec2_url}/moto-api/")


def _daemon(settings: Settings) -> daemon.Daemon:
    return daemon.Daemon("ec2", PROGRAM, settings.state)
