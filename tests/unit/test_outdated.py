"""`make outdated`: what each source's answer means, and what no answer means."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.images import official
from supply import newest, outdated
from supply.newest import NotAsked
from supply.pins import Pin

PAGES = {
    "/api/v3/plugin/ansible/content/published/collections/index/amazon/aws/": {
        "highest_version": {"version": "11.0.0"}
    },
    "/v1/providers/hashicorp/aws": {"version": "6.80.0"},
}


@pytest.fixture
def server() -> Iterator[str]:
    """Answers as Galaxy and Terraform's registry do."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in PAGES else 404)
            self.end_headers()
            self.wfile.write(json.dumps(PAGES.get(self.path)).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(newest, "_run", lambda *_arguments: text)


@pytest.mark.parametrize(
    ("tag", "tags", "wanted"),
    [
        ("4.1.1", ["4.1.1", "4.2.0", "4.10.0", "4.11.0-rc1", "latest", "5.0"], "4.10.0"),
        ("3.13-slim", ["3.14-slim", "3.15", "3.14-slim-bookworm", "3.13-alpine"], "3.14-slim"),
        ("7.0", ["8.2", "7.0.1", "8.2-noble"], "8.2"),
        ("7.0", [], "7.0"),
        ("latest", ["1.0", "latest"], "latest"),
    ],
)
def test_the_newest_tag_has_the_pinned_ones_shape(tag: str, tags: list[str], wanted: str) -> None:
    assert newest.newest_tag(tag, tags) == wanted


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("mongo:7.0", "mongo:8.2"),
        ("localhost:5000/mongo:7.0", "localhost:5000/mongo:8.2"),
        ("mongo:7.0@sha256:old", "mongo:8.2@sha256:new"),
    ],
)
def test_a_pinned_digest_is_held_against_the_newest_tags(
    written: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "tags", lambda *_arguments: ["7.0", "8.2"])
    monkeypatch.setattr(
        official, "digest", lambda written, _seconds: f"sha256:{'new' if '8.2' in written else '?'}"
    )
    assert newest.images([Pin("fleet.yml", "images.mongo", written)]) == {"images.mongo": wanted}


def test_an_image_without_a_registry_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Any:
        raise OSError("no such host")

    monkeypatch.setattr(official, "tags", fail)
    with pytest.raises(NotAsked, match=r"registry-1\.docker\.io: no such host"):
        newest.images([Pin("fleet.yml", "images.mongo", "mongo:7.0")])


def test_a_digest_alone_cannot_be_held_against_a_tag() -> None:
    with pytest.raises(NotAsked, match="mongo@sha256:12 has no tag"):
        newest.images([Pin("fleet.yml", "images.mongo", "mongo@sha256:12")])


def test_uv_names_what_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    says(
        monkeypatch,
        "gpu-token-pipeline v0.1.0\n"
        "│       ├── packaging v26.3 (latest: v26.4)\n"
        "├── boto3-stubs[ec2] v1.43.126 (group: dev) (latest: v1.44.1)\n"
        "├── moto[server, ssm] v5.2.5\n",
    )
    locked = [
        Pin("uv.lock", *found)
        for found in (("packaging", "26.3"), ("boto3-stubs", "1.43.126"), ("moto", "5.2.5"))
    ]
    assert newest.python_lock(locked, Path()) == {
        "packaging": "26.4",
        "boto3-stubs": "1.44.1",
        "moto": "5.2.5",
    }


def test_npm_names_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, '"1.7.0"\n')
    assert newest.npm([Pin("package.json", "uplot", "1.6.32")]) == {"uplot": "1.7.0"}


def test_maven_that_reaches_nothing_is_not_taken_for_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    says(
        monkeypatch,
        "[WARNING] Could not transfer metadata org.slf4j:slf4j-simple/maven-metadata.xml from/to central\n",
    )
    with pytest.raises(NotAsked, match="Maven could not reach its repository"):
        newest.jars([Pin("bench/pom.xml", "org.slf4j:slf4j-simple", "1.7.36")])


def test_maven_names_what_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str]) -> str:
        [answer] = (
            Path(word.partition("=")[2]) for word in command if word.startswith("-Dversions.outputFile=")
        )
        answer.write_text(
            "The following dependencies in Dependencies have newer versions:\n"
            "  org.apache.kafka:connect-runtime ...................... 4.1.1 -> 4.4.0\n"
            "  org.apache.maven.plugins:a-plugin-of-a-long-name ...\n"
            "                                                        3.6.1 -> 3.11.0\n"
        )
        return ""

    monkeypatch.setattr(newest, "_run", run)
    names = (
        "org.apache.kafka:connect-runtime",
        "org.apache.maven.plugins:a-plugin-of-a-long-name",
        "org.a:b",
    )
    answers = newest.jars([Pin("bench/pom.xml", name, "1") for name in names])
    assert [answers[name] for name in names] == ["4.4.0", "3.11.0", "1"]


@pytest.mark.parametrize(
    ("ask", "name", "wanted"),
    [(newest.collections, "amazon.aws", "11.0.0"), (newest.providers, "hashicorp/aws", "6.80.0")],
)
def test_a_registry_is_asked(ask: Callable[..., dict[str, str]], name: str, wanted: str, server: str) -> None:
    assert ask([Pin("", name, "1")], server) == {name: wanted}
    with pytest.raises(NotAsked, match=r"127\.0\.0\.1:\d+: Not Found"):
        ask([Pin("", "no.such", "1")], server)


def test_a_tool_that_is_missing_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAsked, match="mvn is not installed"):
        newest.jars([])


def test_what_is_not_asked_is_neither_newest_nor_behind() -> None:
    def silent(_pins: object) -> dict[str, str]:
        raise NotAsked("mvn is not installed")

    known = [Pin("bench/pom.xml", "a:b", "1")]
    assert list(outdated.compared((known, silent))) == [(known[0], "not asked: mvn is not installed")]
    assert list(outdated.compared((known, lambda _pins: {"a:b": "2"}))) == [(known[0], "behind: 2")]


@pytest.mark.parametrize(
    ("place", "pinned", "answer", "wanted"),
    [
        ("terraform/versions.tf", "6.69", "6.80.0", True),
        ("terraform/versions.tf", "6.69", "7.0.0", False),
        ("uv.lock", "6.69", "6.80.0", False),
        ("uv.lock", "6.69", "6.69", True),
    ],
)
def test_a_providers_pin_takes_later_minor_versions(
    place: str, pinned: str, answer: str, wanted: bool
) -> None:
    assert outdated.is_newest(Pin(place, "one", pinned), answer) is wanted
