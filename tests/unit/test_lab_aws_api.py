"""Parameters outlive the lab's AWS API."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleet.model import load
from lab import ec2_server
from lab.report import Report
from lab.settings import Settings, from_environment
from testing import aws

from .role_files import ROOT


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """An environment with an API and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    made = from_environment(
        {"LAB_NAME": "keeps", "LAB_EC2_PORT": port}, load(ROOT / "fleet.yml"), root=tmp_path
    )
    ec2_server.ensure(made, Report())
    yield made
    ec2_server.stop(made, Report())


def ssm(settings: Settings) -> Any:
    """A client of its parameters."""
    return aws.client("ssm", settings.ec2_url)


def values(settings: Settings) -> dict[str, str]:
    """Every parameter of the path, as a reader of secrets gets them."""
    found = ssm(settings).get_parameters_by_path(Path="/a", Recursive=True, WithDecryption=True)["Parameters"]
    return {one["Name"]: one["Value"] for one in found}


def test_parameters_outlive_the_api(settings: Settings) -> None:
    client = ssm(settings)
    for name in ("one", "two", "three", "four"):
        client.put_parameter(Name=f"/a/{name}", Value=f"s3cret-{name}", Type="SecureString")
    client.put_parameter(Name="/a/one", Value="changed", Overwrite=True)
    with pytest.raises(ClientError, match="ParameterAlreadyExists"):
        client.put_parameter(Name="/a/two", Value="not taken", Type="SecureString")
    client.delete_parameter(Name="/a/three")
    client.delete_parameters(Names=["/a/four", "/a/none"])
    before = values(settings)
    assert before == {"/a/one": "changed", "/a/two": "s3cret-two"}

    ec2_server.stop(settings, Report())
    ec2_server.ensure(settings, Report())
    assert values(settings) == before
    assert ssm(settings).get_parameter(Name="/a/two")["Parameter"]["Type"] == "SecureString"
    # What was put back can be changed, and is kept again.
    ssm(settings).put_parameter(Name="/a/two", Value="newer", Overwrite=True)
    ec2_server.stop(settings, Report())
    ec2_server.ensure(settings, Report())
    assert values(settings)["/a/two"] == "newer"


def test_they_are_kept_from_others(settings: Settings) -> None:
    ssm(settings).put_parameter(Name="/a/one", Value="s3cret", Type="SecureString")
    (file,) = settings.state.glob("parameters*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "s3cret" not in (settings.state / "ec2.log").read_text()
