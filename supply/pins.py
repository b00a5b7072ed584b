"""Every pinned version, with the file that pins it."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from fleet import model
from lab.images import reference

# Python packages that uv.lock does not hold, since each runs in an environment of its own.
APART = (
    "lab/images/contexts/mongo/requirements.in",
    "bench/duckdb-requirements.in",
    "bench/quix-requirements.in",
    "testing/litellm-requirements.in",
    "tests/terraform/test_checkov.py",
    "scripts/audit.sh",
)
MAVEN_PLUGINS = ("bench/parts.py", "lab/images/contexts/kafka/prepare.sh", "supply/newest.py")
NPM = "apps/processor/npm"
KAFKA_JARS = "org.apache.kafka:kafka-clients"

_PYTHON = re.compile(r'^(?:[A-Z_]+ ?= ?")?([\w-]+)(?:\[\w+\])?==([\w.]+)"?$', re.MULTILINE)
_PLUGIN = re.compile(r"(org\.[\w.]+):([\w-]+-plugin):(\d[\w.]*)")
_PROVIDER = re.compile(r'source\s*=\s*"([\w./-]+)"\s*version\s*=\s*"~> ([\d.]+)"')
_POM = {"pom": "http://maven.apache.org/POM/4.0.0"}


@dataclass(frozen=True, order=True)
class Pin:
    """``name`` is what its source calls it; an image's version is its whole reference."""

    place: str
    name: str
    version: str


def python_lock(root: Path) -> list[Pin]:
    """Everything in uv.lock that comes from an index."""
    packages = tomllib.loads((root / "uv.lock").read_text())["package"]
    return [Pin("uv.lock", p["name"], p["version"]) for p in packages if "registry" in p["source"]]


def python_apart(root: Path) -> list[Pin]:
    """Python packages that are pinned elsewhere."""
    return [Pin(place, *found) for place, found in _search(root, APART, _PYTHON)]


def collections(root: Path) -> list[Pin]:
    """Ansible's collections."""
    wanted = yaml.safe_load((root / "requirements.yml").read_text())["collections"]
    return [Pin("requirements.yml", one["name"], one["version"]) for one in wanted]


def images(root: Path) -> list[Pin]:
    """The images that run on the machines."""
    pinned = model.load(root / "fleet.yml").images
    return [Pin("fleet.yml", f"images.{name}", written) for name, written in pinned]


def jars(root: Path) -> list[Pin]:
    """What comes from Maven: Kafka at its image's version, the bench's parts, plugins."""
    image = model.load(root / "fleet.yml").images.kafka
    kafka = reference.version("images.kafka", image, 3)
    found = [Pin("fleet.yml", KAFKA_JARS, kafka)]
    for dependency in ET.parse(root / "bench" / "pom.xml").iterfind(".//pom:dependency", _POM):
        group, artifact, version = (
            dependency.findtext(f"pom:{part}", "", _POM) for part in ("groupId", "artifactId", "version")
        )
        if not version.startswith("${"):
            found.append(Pin("bench/pom.xml", f"{group}:{artifact}", version))
    for place, (group, artifact, version) in _search(root, MAVEN_PLUGINS, _PLUGIN):
        found.append(Pin(place, f"{group}:{artifact}", version))
    return found


def npm(root: Path) -> list[Pin]:
    """The page's libraries."""
    wanted = json.loads((root / NPM / "package.json").read_text())["dependencies"]
    return [Pin(f"{NPM}/package.json", name, version) for name, version in wanted.items()]


def providers(root: Path) -> list[Pin]:
    """Terraform's providers, each with the oldest version that is taken."""
    places = sorted(str(file.relative_to(root)) for file in (root / "terraform").rglob("versions.tf"))
    return [Pin(place, *found) for place, found in _search(root, places, _PROVIDER)]


def _search(
    root: Path, places: Sequence[str], pattern: re.Pattern[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for place in places:
        for found in pattern.finditer((root / place).read_text()):
            yield place, found.groups()
