"""What the pipeline is made of: locked by hash, listed in full, each version pinned once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from fleet import model
from lab.images import recipes, reference
from supply import pins
from tests.unit.test_build_context import build_context

ROOT = Path(__file__).parents[2]
APPS = ("processor", "producers")
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True
).stdout.split()


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bills of material that `make sbom` writes."""
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run(["scripts/sbom.sh", str(folder)], cwd=ROOT, check=True)
    return {app: json.loads((folder / f"{app}.cdx.json").read_text()) for app in APPS}


# The bill of materials


@pytest.mark.parametrize("app", APPS)
def test_everything_that_a_machine_gets_stands_in_the_bill(app: str, bills: dict[str, Any]) -> None:
    bill = bills[app]
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", f"gpu-token-{app}")
    components = {f"{one['name']}=={one['version']}": one for one in bill["components"]}
    assert "gpu-token-contracts" in {one["name"] for one in bill["components"]}
    locked = build_context.locked_requirements(ROOT, app, "3.13").splitlines()
    assert len(locked) > 3
    for line in locked:
        pin, *hashes = line.split()
        component = components[pin]
        assert component["purl"] == f"pkg:pypi/{pin.replace('==', '@')}"
        listed = {
            f"--hash=sha256:{hashed['content']}"
            for file in component["externalReferences"]
            for hashed in file["hashes"]
        }
        assert set(hashes) == listed


@pytest.mark.parametrize("app", APPS)
def test_nothing_else_stands_in_the_bill(app: str, bills: dict[str, Any]) -> None:
    names = {one["name"] for one in bills[app]["components"]}
    elsewhere = {one["name"] for one in bills[app]["components"] if "pkg:pypi" not in one.get("purl", "")}
    assert elsewhere == {"gpu-token-contracts"} | ({"uplot"} if app == "processor" else set())
    assert not names & {"pytest", "ansible", "moto"}


# Locks


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith("Dockerfile")])
def test_an_image_installs_packages_by_hash_from_its_context_alone(name: str) -> None:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for call in re.findall(r"pip\b[^\n&]*? install [^\n&]*", text):
        assert {"--require-hashes", "--no-index"} <= set(call.split()), call


@pytest.mark.parametrize("name", [name for name in TRACKED if re.search(r"requirements\.txt$", name)])
def test_every_locked_requirement_has_a_hash(name: str) -> None:
    lines = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    locked = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert locked
    assert [line for line in locked if "==" not in line or "--hash=sha256:" not in line] == []


def test_a_wheel_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    [line] = (
        line
        for line in build_context.locked_requirements(ROOT, "processor", "3.13").splitlines()
        if line.startswith("typing-extensions==")
    )
    inputs = build_context.Inputs(
        "processor", ROOT, "", "3.13", f"{line.split()[0]} --hash=sha256:{'0' * 64}\n"
    )
    (tmp_path / "wheelhouse").mkdir()
    with pytest.raises(build_context.ContextError, match=r"(?i)do not match the hashes"):
        build_context.download(inputs, tmp_path / "wheelhouse", tmp_path / "cache")
    assert list((tmp_path / "wheelhouse").iterdir()) == []


def test_the_controller_gets_uv_by_its_hash() -> None:
    command = [sys.executable, "scripts/locked_uv.py"]
    line = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert re.fullmatch(r"uv==[\d.]+( --hash=sha256:[0-9a-f]{64})+\n", line)


# One place for each version


def test_a_version_that_stands_in_several_files_is_the_same_in_all() -> None:
    kinds = (
        pins.python_lock,
        pins.python_apart,
        pins.collections,
        pins.images,
        pins.jars,
        pins.providers,
        pins.npm,
    )
    # A lock file may hold a package in one version for each Python.
    versions: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for kind in kinds:
        found = kind(ROOT)
        assert found, f"{kind.__name__} finds none"
        for pin in found:
            versions[pin.name][pin.place].add(pin.version)
    differing = {
        name: dict(places)
        for name, places in versions.items()
        if len({frozenset(found) for found in places.values()}) > 1
    }
    assert differing == {}
    for twice in ("secantusdb", "hashicorp/aws", "org.apache.maven.plugins:maven-dependency-plugin"):
        assert len(versions[twice]) > 1, f"{twice} is looked for in one place"


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith("pom.xml")])
def test_kafkas_jars_follow_fleet_yml(name: str) -> None:
    text = (ROOT / name).read_text()
    versions = re.findall(
        r"<groupId>org\.apache\.kafka</groupId>\s*<artifactId>\S+\s*<version>(\S+)</version>", text
    )
    assert set(versions) == {"${env.KAFKA_VERSION}"}


def test_the_apps_take_their_base_from_fleet_yml() -> None:
    assert re.search(r"^ARG BASE_IMAGE$", (ROOT / "apps" / "Dockerfile").read_text(), re.MULTILINE)
    image = model.load(ROOT / "fleet.yml").images.python
    minor = reference.version_numbers("images.python", image, 2)[:2]
    # The wheels are those of this Python, in the official image and in the one that is built.
    assert ".".join(map(str, minor)) == build_context.PYTHON
    assert minor == recipes.SUITE_PYTHON


def test_the_collections_are_those_that_ansible_brings() -> None:
    folder = distribution("ansible").locate_file("ansible_collections")
    brought = {}
    for pin in pins.collections(ROOT):
        manifest = Path(str(folder), *pin.name.split("."), "MANIFEST.json")
        brought[pin.name] = json.loads(manifest.read_text())["collection_info"]["version"]
    assert brought == {pin.name: pin.version for pin in pins.collections(ROOT)}
