"""The commands of the stand-in for MongoDB."""

from pathlib import Path
from typing import Any

import pytest

from testing.mongo_compat import initdb, mongod, mongosh, settings


def config(tmp_path: Path, text: str) -> list[str]:
    """Arguments that name a configuration file of this content."""
    path = tmp_path / "mongod.conf"
    path.write_text(text)
    return ["--config", str(path)]


def test_mongod_reads_the_file_and_flags_win(tmp_path: Path) -> None:
    arguments = config(
        tmp_path,
        """
storage: {dbPath: /srv, wiredTiger: {engineConfig: {cacheSizeGB: 0.5}}}
net: {port: 27018, bindIp: "127.0.0.1,0.0.0.0"}
security: {authorization: enabled}
""",
    )
    assert settings.parse(arguments) == settings.Settings("/srv", 27018, "0.0.0.0", 0.5, True)
    assert settings.parse([*arguments, "--port", "1", "--noauth"]).port == 1
    assert not settings.parse([*arguments, "--noauth"]).authorization
    assert mongod.server_arguments(settings.parse(arguments))[1:] == [
        "--host=0.0.0.0",
        "--port=27018",
        "--storage-path=/srv",
        "--cache-size=512M",
        "--standalone",
        "--auth",
    ]


def test_mongod_takes_tls_from_the_file_or_the_flags(tmp_path: Path) -> None:
    arguments = config(
        tmp_path,
        """
net.tls: {mode: requireTLS, certificateKeyFile: /s.pem, CAFile: /ca.pem}
net.tls.allowConnectionsWithoutCertificates: true
""",
    )
    flags = ["--tlsMode=requireTLS", "--tlsCertificateKeyFile=/s.pem", "--tlsCAFile=/ca.pem"]
    anybody = "--tlsAllowConnectionsWithoutCertificates"
    assert settings.parse(arguments) == settings.parse([*flags, anybody])
    tls = ["--tls-cert-file=/s.pem", "--tls-key-file=/s.pem", "--tls-ca-file=/ca.pem"]
    assert mongod.server_arguments(settings.parse(arguments))[-3:] == tls
    assert mongod.server_arguments(settings.parse(flags))[-4:] == [*tls, "--tls-require-client-cert"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net: {tls: {mode: preferTLS}}", "set requireTLS or disabled"),
        (
            "net: {tls: {mode: requireTLS, certificateKeyFile: /s.pem}}",
            "both a certificateKeyFile and a CAFile",
        ),
        ("net: {tls: {CAFile: /ca.pem}}", "TLS is disabled"),
        ("net: {prot: 1}", "Unrecognized option: net.prot"),
        ("replication: {replSetName: rs0}", "Unrecognized option: replication.replSetName"),
        ("security: {authorization: true}", "set it to enabled or disabled"),
        ("net: {port: many}", "A number in"),
        ("net: {bindIp: '127.0.0.1,10.0.1.20'}", "listens on one address"),
        ("storage: {wiredTiger: {engineConfig: {cacheSizeGB: 0}}}", "at least 0.01"),
        ("a: [", "Error parsing config file"),
    ],
)
def test_mongod_refuses_what_it_cannot_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(settings.SettingError, match=said):
        settings.parse(config(tmp_path, text))


def test_mongod_refuses_an_unknown_flag() -> None:
    with pytest.raises(SystemExit) as end:
        settings.parse(["--replSet", "rs0"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ('"ping"', {"ping": 1}),
        ("'ping'", {"ping": 1}),
        ("{ping:1}", {"ping": 1}),
        ("{ collStats: 'a', scale: 1024 }", {"collStats": "a", "scale": 1024}),
        ('{"listCollections": 1, filter: {name: "a"}}', {"listCollections": 1, "filter": {"name": "a"}}),
    ],
)
def test_mongosh_reads_commands(argument: str, command: dict[str, Any]) -> None:
    assert mongosh.command_of(argument) == command


@pytest.mark.parametrize("argument", ["", "{}", "ping", "1", "{ping:1"])
def test_mongosh_refuses_what_is_no_command(argument: str) -> None:
    with pytest.raises(mongosh.ExpressionError):
        mongosh.command_of(argument)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1.5, "1.5"), ("8.2", "8.2"), ({"ok": 1.0}, '{"ok": 1.0}'), (None, "null")],
)
def test_mongosh_prints_values(value: object, text: str) -> None:
    assert mongosh.shown(value) == text


def test_root_user_comes_from_variables_or_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    assert initdb.root_user({}) is None
    assert initdb.root_user({initdb.USER: "root", f"{initdb.PASSWORD}_FILE": str(secret)}) == (
        "root",
        "s3cret",
    )
    with pytest.raises(settings.SettingError, match="only one is set"):
        initdb.root_user({initdb.USER: "root"})
    with pytest.raises(settings.SettingError, match="set one"):
        initdb.root_user({initdb.USER: "root", f"{initdb.USER}_FILE": str(secret)})
