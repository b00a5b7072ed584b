"""The lab's images: which are taken, what they are built from, and the commands of the mongo stand-in."""

import fcntl
import io
import os
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.images import choose, context, official, recipes, reference, store
from lab.images.builder import Builder
from lab.images.contexts.kafka import launchers
from lab.images.errors import ImageError
from lab.images.mirror import DEBIAN, SECURITY, debian_mirrors
from testing.mongo_compat import initdb, mongod, mongosh, settings


def fleet(kafka: str = "apache/kafka:4.1.1", python: str = "python:3.13-slim") -> Any:
    """A fleet as far as the images read it."""
    return SimpleNamespace(images=SimpleNamespace(kafka=kafka, mongo="mongo:7.0", python=python))


# References


@pytest.mark.parametrize(
    ("written", "registry", "repository", "tag", "digest"),
    [
        ("mongo:7.0", reference.DOCKER_HUB, "library/mongo", "7.0", ""),
        ("apache/kafka:4.1.1", reference.DOCKER_HUB, "apache/kafka", "4.1.1", ""),
        ("python", reference.DOCKER_HUB, "library/python", "latest", ""),
        ("ghcr.io/a/b:1", "ghcr.io", "a/b", "1", ""),
        ("localhost:5000/a@sha256:12", "localhost:5000", "a", "", "sha256:12"),
        ("localhost:5000/a:1@sha256:12", "localhost:5000", "a", "1", "sha256:12"),
    ],
)
def test_reference_is_read_as_docker_reads_it(
    written: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    parsed = reference.parse(written)
    assert parsed == reference.Reference(registry, repository, tag, digest)
    assert parsed.manifest_url == f"https://{registry}/v2/{repository}/manifests/{digest or tag}"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kafka": "apache/kafka:latest"}, "images.kafka is 'apache/kafka:latest', whose tag"),
        ({"kafka": "apache/kafka:3.7.0"}, "from 4.0.0 on"),
        ({"python": "python:3.12-slim"}, "pin python:3.13-slim, or set LAB_IMAGES=official"),
    ],
)
def test_version_that_packages_do_not_give_is_refused_in_a_sentence(
    changed: dict[str, str], said: str
) -> None:
    with pytest.raises(ImageError) as refusal:
        recipes.services(fleet(**changed))
    assert said in str(refusal.value)


# Recipes


def test_tag_holds_version_and_content() -> None:
    one, other = recipes.services(fleet()), recipes.services(fleet(kafka="apache/kafka:4.1.0"))
    assert one.kafka.reference.startswith("apache/kafka:4.1.1-built.")
    assert one.kafka.tag != other.kafka.tag
    assert one.python.reference == other.python.reference
    assert one.mongo.reference.startswith("secantusdb/mongo-compat:")


def test_a_digest_leaves_the_version_that_is_built() -> None:
    plain, pinned = fleet(), fleet(kafka=f"apache/kafka:4.1.1@sha256:{64 * 'a'}")
    assert recipes.services(pinned).kafka == recipes.services(plain).kafka


def test_digest_follows_content_mode_and_parent(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    seen = {context.digest(tmp_path, {}, "")}
    seen.add(context.digest(tmp_path, {"A": "1"}, ""))
    seen.add(context.digest(tmp_path, {}, "parent"))
    file.chmod(0o755)
    seen.add(context.digest(tmp_path, {}, ""))
    file.write_text("FROM other\n")
    seen.add(context.digest(tmp_path, {}, ""))
    assert len(seen) == 5


def test_context_is_the_same_under_every_umask(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir(mode=0o700)
    (tmp_path / "etc" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "etc" / "run").chmod(0o700)
    (tmp_path / "empty").touch(mode=0o600)
    target = tmp_path.parent / "context.tar"
    context.write_tar(target, context.entries(tmp_path))
    with tarfile.open(target) as archive:
        members = {member.name: (member.mode, member.uid, member.mtime) for member in archive}
    assert members == {"empty": (0o644, 0, 0), "etc": (0o755, 0, 0), "etc/run": (0o755, 0, 0)}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("sources.list", "deb http://near/debian bookworm main\n", ("http://near/debian", SECURITY)),
        (
            "sources.list.d/debian.sources",
            "URIs: http://near/debian/\n\nURIs: http://near/debian-security\n",
            ("http://near/debian", "http://near/debian-security"),
        ),
        ("sources.list", "deb http://archive.ubuntu.com/ubuntu noble main\n", (DEBIAN, SECURITY)),
        ("sources.list", "# deb http://near/debian bookworm main\n", (DEBIAN, SECURITY)),
    ],
)
def test_mirror_is_the_hosts(tmp_path: Path, name: str, content: str, expected: tuple[str, str]) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(content)
    assert debian_mirrors(tmp_path) == expected


# The registry's storage


def stored(root: Path, repository: str, tag: str) -> None:
    """Lay a tag down as the registry does."""
    registry = root / "docker/registry/v2"
    link = registry / f"repositories/{repository}/_manifests/tags/{tag}/current/link"
    blob = registry / "blobs/sha256/ab/abcd/data"
    for file, content in ((link, "sha256:abcd"), (blob, "{}")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def test_tag_without_its_manifest_is_not_held(tmp_path: Path) -> None:
    stored(tmp_path, "apache/kafka", "1")
    assert store.holds(tmp_path, "apache/kafka", "1")
    assert not store.holds(tmp_path, "apache/kafka", "2")
    (tmp_path / "docker/registry/v2/blobs/sha256/ab/abcd/data").unlink()
    assert not store.holds(tmp_path, "apache/kafka", "1")


# Asking the official registry


class Answer(io.BytesIO):
    """An HTTP answer."""

    status = 200

    def __init__(self, body: bytes = b"") -> None:
        super().__init__(body)
        self.headers = Message()


def refusal(code: int, challenge: str = "") -> urllib.error.HTTPError:
    """An HTTP error, as urllib raises it."""
    headers = Message()
    if challenge:
        headers["WWW-Authenticate"] = challenge
    return urllib.error.HTTPError("", code, "", headers, None)


CHALLENGE = 'Bearer realm="https://auth.example/token",service="r",scope="repository:library/mongo:pull"'


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ([Answer()], True),
        ([refusal(401, CHALLENGE), Answer(b'{"token": "t"}'), Answer()], True),
        ([refusal(401, CHALLENGE), Answer(b'{"token": "t"}'), refusal(404)], False),
        ([refusal(401, CHALLENGE), Answer(b"<html>log in</html>")], False),
        ([refusal(401, CHALLENGE), Answer(b'{"error": "x"}')], False),
        ([refusal(401, CHALLENGE), Answer(b"[]")], False),
        ([refusal(401)], False),
        ([refusal(403)], False),
        ([urllib.error.URLError("no such host")], False),
        ([TimeoutError()], False),
    ],
)
def test_only_a_served_manifest_counts(
    monkeypatch: pytest.MonkeyPatch, given: list[Any], served: bool
) -> None:
    answers(monkeypatch, *given)
    assert official.is_served("mongo:7.0", 1.0) is served


def answers(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[str]:
    """Have the registry give these answers; returns the list of what it is asked."""
    asked: list[str] = []
    left = list(answers)

    def urlopen(request: Any, timeout: float) -> Answer:
        assert timeout == 1.0
        asked.append(
            f"{request.get_method()} {request.full_url}" if hasattr(request, "full_url") else request
        )
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Answer)
        return answer

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def test_tags_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Answer(b'{"tags": ["7.0"]}'), Answer(b'{"tags": ["8.2"]}')
    first.headers["Link"] = '</v2/library/mongo/tags/list?last=7.0>; rel="next"'
    asked = answers(monkeypatch, refusal(401, CHALLENGE), Answer(b'{"token": "t"}'), first, second)
    assert official.tags("mongo:7.0", 1.0) == ["7.0", "8.2"]
    tags = "GET https://registry-1.docker.io/v2/library/mongo/tags/list"
    assert [asked[0], *asked[2:]] == [tags, tags, f"{tags}?last=7.0"]


def test_a_tags_digest_is_the_registrys_word(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Answer()
    known.headers["Docker-Content-Digest"] = "sha256:12"
    asked = answers(monkeypatch, known, Answer())
    assert official.digest("mongo:7.0", 1.0) == "sha256:12"
    assert asked == ["HEAD https://registry-1.docker.io/v2/library/mongo/manifests/7.0"]
    with pytest.raises(ValueError, match="no digest for mongo"):
        official.digest("mongo:7.0", 1.0)


# The choice


@pytest.fixture
def ensure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bool], Any]:
    """``ensure`` with a builder that only names things; returns the set and what was reported."""
    monkeypatch.setattr(choose, "ENGINE_LOCK", tmp_path / "lock")
    monkeypatch.setattr(Builder, "in_engine", lambda _self, recipe: recipe.engine_name)
    monkeypatch.setattr(Builder, "in_store", lambda _self, recipe: recipe.reference)
    monkeypatch.setattr(Builder, "drop", lambda _self, _recipe: None)

    def call(mode: str, reachable: bool) -> Any:
        monkeypatch.setattr(official, "is_served", lambda _reference, _seconds: reachable)
        said: list[str] = []
        return choose.ensure(tmp_path / "cache", mode, fleet(), said.append), said

    return call


@pytest.mark.parametrize(
    ("mode", "reachable", "source"),
    [
        ("auto", True, "official"),
        ("auto", False, "built"),
        ("built", True, "built"),
        ("official", False, "official"),
    ],
)
def test_one_line_says_which_images(
    ensure: Callable[[str, bool], Any], mode: str, reachable: bool, source: str
) -> None:
    images, said = ensure(mode, reachable)
    assert images.source == source
    assert images.machine.startswith("gpu-token-lab/machine:")
    assert (images.kafka == "apache/kafka:4.1.1") is (source == "official")
    assert len(said) == 1
    assert said[0].startswith("Images: official" if source == "official" else "Images: built")


def test_auto_keeps_to_what_was_built(ensure: Callable[[str, bool], Any], tmp_path: Path) -> None:
    wanted = recipes.services(fleet())
    for recipe in (wanted.python, wanted.kafka, wanted.mongo):
        stored(store.registry_root(tmp_path / "cache"), recipe.repository, recipe.tag)
    assert ensure("auto", True)[0].source == "built"


def test_lab_that_waits_for_another_says_so(
    ensure: Callable[[str, bool], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def flock(_file: object, operation: int) -> None:
        tries.append(operation)
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError

    monkeypatch.setattr("fcntl.flock", flock)
    said = ensure("built", False)[1]
    assert said[0].startswith("Images: waiting")
    assert len(tries) == 2


def test_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="LAB_IMAGES is 'best': set it to one of auto, official, built"):
        choose.ensure(tmp_path, "best", fleet(), print)


# Kafka's launchers


def test_launcher_takes_the_class_that_is_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jar", "w") as jar:
        jar.writestr("kafka/admin/ConfigCommand.class", b"")
    table = tmp_path / "tools.txt"
    table.write_text(
        "# name class\nkafka-configs.sh org.apache.kafka.tools.ConfigCommand kafka.admin.ConfigCommand\n"
    )
    launchers.main(table, tmp_path, tmp_path / "bin")
    written = tmp_path / "bin/kafka-configs.sh"
    assert "kafka-run-class.sh kafka.admin.ConfigCommand" in written.read_text()
    assert os.access(written, os.X_OK)

    table.write_text("kafka-nothing.sh org.apache.kafka.Nothing\n")
    with pytest.raises(SystemExit, match=r"kafka-nothing.sh: none of org.apache.kafka.Nothing"):
        launchers.main(table, tmp_path, tmp_path / "bin")


# The mongo stand-in


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


def test_no_unit_of_the_machine_is_ordered_before_a_socket() -> None:
    """Sockets come before basic.target, ordinary units after it: systemd would drop one at random."""
    units = sorted(Path(choose.__file__).parent.glob("contexts/machine/files/etc/systemd/system/*.service"))
    assert units
    for unit in units:
        ordered = [line for line in unit.read_text().splitlines() if line.startswith("Before=")]
        assert not any(".socket" in line for line in ordered), unit.name
