"""Kafka's users: the login that tells whether a password is right, and how another one is set."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.module_utils import kafka_login
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_users

from testing.authority import Authority

from .kafka_container import Container
from .scram_broker import ScramBroker

PASSWORD = "the-password-of-processor-00001"
OTHER = "another-password-of-processor-1"
CONFIGS = "kafka-configs.sh"


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScramBroker]:
    """It is in this process: where the machine stands still for some seconds, client and broker both do."""
    monkeypatch.setattr(kafka_login, "TIMEOUT_SECONDS", 600)
    with ScramBroker(Authority(tmp_path, "ca").server_pem).running() as running:
        yield running


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    return str(tmp_path / "ca.pem")


@pytest.fixture
def container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: ScramBroker, ca_file: str
) -> Container:
    """The tool's file reaches the broker a moment after it was written, as in a cluster."""
    made = Container(tmp_path, monkeypatch, CONFIGS)

    def learn(seconds: float) -> None:
        name = made.calls(CONFIGS)[-1].split()[4]
        broker.set_password(name, made.secret(CONFIGS).partition("password=")[2])

    monkeypatch.setattr(kafka_users.time, "sleep", learn)
    return made


def run(
    container: Container,
    broker: ScramBroker,
    capsys: pytest.CaptureFixture[str],
    password: str,
    **arguments: Any,
) -> dict[str, Any]:
    """Run the module for one user; no password is in what it prints, nor in a command line."""
    host, port = broker.address
    said, printed = container.run(
        kafka_users,
        capsys,
        host=host,
        port=port,
        ca_file=str(container.bin / "ca.pem"),
        users=[{"name": "processor", "password": password}],
        **arguments,
    )
    assert "failed" not in said, said["msg"]
    assert password not in printed
    assert not any(password in call for call in container.calls(CONFIGS))
    return said


def test_a_right_password_is_let_in_and_any_other_refused(broker: ScramBroker, ca_file: str) -> None:
    broker.set_password("a=b,c", PASSWORD, iterations=8192)
    kafka_login.login(broker.address, ca_file, "a=b,c", PASSWORD)
    for name, password in (("a=b,c", OTHER), ("a=b,c", ""), ("nobody", PASSWORD)):
        with pytest.raises(kafka_login.LoginRefused):
            kafka_login.login(broker.address, ca_file, name, password)


def test_a_broker_that_does_not_know_the_password_itself_is_not_believed(
    broker: ScramBroker, ca_file: str
) -> None:
    broker.set_password("processor", PASSWORD)
    *known, _ = broker.users["processor"]
    broker.users["processor"] = (*known, b"a key of its own")  # type: ignore[assignment]
    with pytest.raises(kafka_login.LoginBroken, match="does not know the password itself"):
        kafka_login.login(broker.address, ca_file, "processor", PASSWORD)


def test_a_broker_without_the_mechanism_is_named(broker: ScramBroker, ca_file: str) -> None:
    broker.mechanisms = {"PLAIN"}
    with pytest.raises(kafka_login.LoginBroken, match="does not offer SCRAM-SHA-512"):
        kafka_login.login(broker.address, ca_file, "processor", PASSWORD)


def test_a_server_of_an_unknown_authority_learns_nothing(broker: ScramBroker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other", "ca")
    with pytest.raises(ssl.SSLCertVerificationError):
        kafka_login.login(broker.address, str(tmp_path / "other" / "ca.pem"), "processor", PASSWORD)


def test_another_password_is_set_once(
    container: Container, broker: ScramBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.set_password("processor", PASSWORD)
    assert not run(container, broker, capsys, PASSWORD)["changed"]

    dry = run(container, broker, capsys, OTHER, _ansible_check_mode=True)
    assert container.calls(CONFIGS) == []
    changed = run(container, broker, capsys, OTHER)
    [call] = container.calls(CONFIGS)
    assert call.startswith("--alter --entity-type users --entity-name processor --add-config-file /dev/fd/")
    assert container.secret(CONFIGS) == f"SCRAM-SHA-512=iterations=8192,password={OTHER}"
    for said in (dry, changed):
        assert said["actions"] == ["set the password of processor"]
        assert said["diff"] == {
            "before": {"processor": "password refused"},
            "after": {"processor": "password accepted"},
        }
    assert not run(container, broker, capsys, OTHER)["changed"]


@pytest.mark.parametrize(("backlog", "why"), [(None, "Connection refused"), (1, "timed out")])
def test_a_broker_that_does_not_answer_is_no_wrong_password(
    backlog: int | None,
    why: str,
    container: Container,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(kafka_login, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        if backlog is not None:
            reserved.listen(backlog)
        port = reserved.getsockname()[1]
        said, _ = container.run(
            kafka_users,
            capsys,
            host="127.0.0.1",
            port=port,
            ca_file=str(container.bin / "ca.pem"),
            users=[{"name": "processor", "password": PASSWORD}],
        )
    assert said["failed"]
    assert said["msg"].startswith(f"The broker at 127.0.0.1:{port} cannot be asked who may log in: ")
    assert why in said["msg"]
    assert container.calls(CONFIGS) == []


DESCRIBED = """SCRAM credential configs for user-principal 'gpu-b' are SCRAM-SHA-512=iterations=8192
SCRAM credential configs for user-principal 'processor' are SCRAM-SHA-512=iterations=8192
SCRAM credential configs for user-principal 'gpu-gone.example' are SCRAM-SHA-512=iterations=8192
Quota configs for user-principal 'gpu-quota' are consumer_byte_rate=1
"""


def test_a_user_with_the_prefix_who_is_not_listed_is_removed(
    container: Container, broker: ScramBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.set_password("processor", PASSWORD)
    container.prints(CONFIGS, DESCRIBED)
    dry = run(container, broker, capsys, PASSWORD, exclusive_prefix="gpu-", _ansible_check_mode=True)
    assert container.calls(CONFIGS) == ["--describe --entity-type users"]
    changed = run(container, broker, capsys, PASSWORD, exclusive_prefix="gpu-")
    removing = "--alter --entity-type users --entity-name {} --delete-config SCRAM-SHA-512"
    assert container.calls(CONFIGS)[2:] == [removing.format(name) for name in ("gpu-b", "gpu-gone.example")]
    for said in (dry, changed):
        assert said["actions"] == ["remove gpu-b", "remove gpu-gone.example"]
        assert said["diff"]["after"] == {}
    container.prints(CONFIGS, "")
    assert not run(container, broker, capsys, PASSWORD, exclusive_prefix="gpu-")["changed"]
