"""Asks each source for the newest version of what is pinned; raises ``NotAsked`` if it does not answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ansible import constants
from packaging.version import Version

from lab.images import official, reference
from supply.pins import Pin

ANSWER_SECONDS = 10.0
VERSIONS_PLUGIN = "org.codehaus.mojo:versions-maven-plugin:2.18.0"
TERRAFORM_REGISTRY = "https://registry.terraform.io"

_BEHIND = re.compile(r"([\w.-]+)(?:\[[^\]]*\])? v\S+ .*\(latest: v([^)]+)\)")
_UPDATE = re.compile(r"(\S+:\S+) \.*\s+\S+ -> (\S+)")
_PRERELEASES = r"(?i).*[.-](alpha|beta|rc|cr|m)[.-]?\d*"
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


class NotAsked(Exception):
    """The source did not answer; the message says why."""


def python_lock(pins: Sequence[Pin], root: Path) -> dict[str, str]:
    """The newest of each package in uv.lock."""
    listing = _run(["uv", "tree", "--quiet", "--frozen", "--universal", "--outdated", "--project", str(root)])
    return {pin.name: pin.version for pin in pins} | dict(_BEHIND.findall(listing))


def python_apart(pins: Sequence[Pin]) -> dict[str, str]:
    """The newest of each package, no matter what the others need."""
    command = ["uv", "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "-"]
    lines = _run(command, "\n".join(sorted({pin.name for pin in pins}))).split()
    return dict(line.split("==") for line in lines)


def collections(pins: Sequence[Pin], server: str = constants.GALAXY_SERVER) -> dict[str, str]:
    """The newest of each collection, from the Galaxy that ansible.cfg names."""
    index = f"{server.rstrip('/')}/api/v3/plugin/ansible/content/published/collections/index"
    return {
        pin.name: str(_json(f"{index}/{pin.name.replace('.', '/')}/")["highest_version"]["version"])
        for pin in pins
    }


def images(pins: Sequence[Pin]) -> dict[str, str]:
    """The newest tag of the pinned one's shape; of a digest, what its tag points to now."""
    newest = {}
    for pin in pins:
        try:
            newest[pin.name] = _image(pin.version)
        except (OSError, ValueError) as error:
            raise _silent(reference.parse(pin.version).registry, error) from error
    return newest


def jars(pins: Sequence[Pin]) -> dict[str, str]:
    """The newest release of each artifact, by Maven's own settings."""
    dependencies = "".join(
        f"<dependency><groupId>{escape(group)}</groupId><artifactId>{escape(artifact)}</artifactId>"
        f"<version>{escape(version)}</version></dependency>"
        for name, version in sorted({pin.name: pin.version for pin in pins}.items())
        for group, artifact in [name.split(":")]
    )
    with tempfile.TemporaryDirectory() as folder:
        pom, answer = Path(folder) / "pom.xml", Path(folder) / "answer"
        pom.write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>pins</groupId><artifactId>pins</artifactId><version>1</version><packaging>pom</packaging>"
            f"<dependencies>{dependencies}</dependencies></project>"
        )
        said = _run(
            ["mvn", "-B", "-ntp", "-U", "-f", str(pom), f"{VERSIONS_PLUGIN}:display-dependency-updates",
             f"-Dversions.outputFile={answer}", "-Dversions.logOutput=false",
             f"-Dmaven.version.ignore={_PRERELEASES}"]
        )  # fmt: skip
        # Without an answer, Maven continues as if nothing were newer.
        if "Could not transfer metadata" in said:
            raise NotAsked("Maven could not reach its repository")
        return {pin.name: pin.version for pin in pins} | dict(_UPDATE.findall(answer.read_text()))


def npm(pins: Sequence[Pin]) -> dict[str, str]:
    """The newest of each library, as npm's own settings find it."""
    return {pin.name: str(json.loads(_run(["npm", "view", "--json", pin.name, "version"]))) for pin in pins}


def providers(pins: Sequence[Pin], registry: str = TERRAFORM_REGISTRY) -> dict[str, str]:
    """The newest release of each provider."""
    return {pin.name: str(_json(f"{registry}/v1/providers/{pin.name}")["version"]) for pin in pins}


def newest_tag(tag: str, tags: Sequence[str]) -> str:
    """The tag with the highest numbers, among those that differ from ``tag`` only in their numbers."""
    shape = re.compile(r"\d+".join(map(re.escape, re.split(r"\d+", tag))))
    return max((other for other in (*tags, tag) if shape.fullmatch(other)), key=_number)


def _number(tag: str) -> Version:
    found = _NUMBERS.search(tag)
    return Version(found[0] if found else "0")


def _image(written: str) -> str:
    pinned = reference.parse(written)
    if not pinned.tag:
        raise ValueError(f"{written} has no tag that others could be newer than")
    tag = newest_tag(pinned.tag, official.tags(written, ANSWER_SECONDS))
    head = written.partition("@")[0].removesuffix(f":{pinned.tag}")
    digest = f"@{official.digest(f'{head}:{tag}', ANSWER_SECONDS)}" if pinned.digest else ""
    return f"{head}:{tag}{digest}"


def _json(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise _silent(urllib.parse.urlsplit(url).netloc, error) from error


def _silent(host: str, error: Exception) -> NotAsked:
    return NotAsked(f"{host}: {getattr(error, 'reason', error)}")


def _run(command: Sequence[str], text: str = "") -> str:
    """What the command prints, including its errors."""
    # When offline, uv would answer from its cache.
    environment = {**os.environ, "UV_OFFLINE": "false"}
    try:
        done = subprocess.run(
            command, input=text, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise NotAsked(f"{command[0]} is not installed") from error
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        raise NotAsked(f"{command[0]}: {lines[-1].strip() if lines else f'exit status {done.returncode}'}")
    return done.stdout
