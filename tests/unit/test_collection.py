"""The collection's archive, installed where there is no checkout, and the examples that use it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .role_files import ROLES, ROOT

# A playbook for each role; the catalogue among them is none.
EXAMPLES = sorted(
    example for example in (ROOT / "docs" / "examples").glob("*.yml") if (ROLES / example.stem).is_dir()
)


class Installed:
    """A folder in which the archive is installed, and nothing else of the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([ROOT / "scripts" / "install_collection.sh", folder], check=True, capture_output=True)

    @property
    def root(self) -> Path:
        """The collection's own folder."""
        return self.folder / "ansible_collections" / "gpu_token" / "pipeline"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's programs there, without the repository's ansible.cfg."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**environment, "ANSIBLE_COLLECTIONS_PATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("elsewhere"))


def test_the_archive_holds_the_collection_and_nothing_else(installed: Installed) -> None:
    assert {path.name for path in installed.root.iterdir()} == {
        *("FILES.json", "MANIFEST.json", "meta", "plugins", "roles"),
        *("CHANGELOG.md", "LICENSE", "README.md", "docs"),
        # What role app_image builds from.
        *("apps", "pyproject.toml", "uv.lock"),
    }
    names = {part for path in installed.root.rglob("*") for part in path.relative_to(installed.root).parts}
    assert names.isdisjoint({"__pycache__", "tests"})


def test_its_modules_are_documented_there(installed: Installed) -> None:
    listed = installed.run("ansible-doc", "-l", "gpu_token.pipeline")
    assert listed.returncode == 0, listed.stderr
    modules = {line.split()[0].removeprefix("gpu_token.pipeline.") for line in listed.stdout.splitlines()}
    assert modules == {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}


def test_every_example_is_understood_there(installed: Installed) -> None:
    """All in one run, whose messages name the file."""
    machines = "".join(f"{example.stem}-1," for example in EXAMPLES)
    checked = installed.run("ansible-playbook", "--syntax-check", "-i", machines, *map(str, EXAMPLES))
    assert checked.returncode == 0, checked.stderr
    assert [line for line in checked.stdout.splitlines() if line] == [f"playbook: {one}" for one in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_gives_what_its_role_demands(example: Path) -> None:
    (play,) = yaml.safe_load(example.read_text(encoding="utf-8"))
    assert play["roles"] == [f"gpu_token.pipeline.{example.stem}"]
    specs = yaml.safe_load((ROLES / example.stem / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options: dict[str, Any] = specs["argument_specs"]["main"]["options"]
    assert {name for name, option in options.items() if option.get("required")} <= set(play.get("vars", {}))
    assert set(play.get("vars", {})) <= set(options)


def test_a_role_without_its_variables_names_them(installed: Installed) -> None:
    (installed.folder / "bare.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": ["gpu_token.pipeline.kafka"]}])
    )
    run = installed.run("ansible-playbook", "-i", "kafka-1,", "-c", "local", "bare.yml")
    assert run.returncode != 0
    assert "missing required arguments: kafka_image, kafka_machine_memory_mib, kafka_port" in run.stdout


def test_the_apps_build_from_the_archive(installed: Installed) -> None:
    """The tag follows from the sources and the lock file, so both are in the archive, unchanged."""
    script = "roles/app_image/files/build_context.py"
    tags = [
        subprocess.run(
            ["python", str(root / script), "processor", "--cache", str(installed.folder), "--check"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split('"tag": ')[1][:14]
        for root in (installed.root, ROOT)
    ]
    assert tags[0] == tags[1]


def test_it_depends_on_the_versions_that_the_repository_pins() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    required = yaml.safe_load((ROOT / "requirements.yml").read_text(encoding="utf-8"))["collections"]
    pins = {collection["name"]: collection["version"] for collection in required}
    used = {name for name in pins for file in ROLES.rglob("*.yml") if f" {name}." in file.read_text("utf-8")}
    assert galaxy["dependencies"] == {name: pins[name] for name in used}
