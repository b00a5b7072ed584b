"""One lab environment for the whole end-to-end run, beside any other that is up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .runner import Play, host_variables, play

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "LAB_NAME": "e2e",
    "LAB_SUBNET": "10.0.4.0/24",
    "LAB_EC2_PORT": "15300",
    "LAB_REGISTRY_PORT": "15301",
}
# The main job comes first: it starts on fresh machines. test_drift and test_changes demand that what they
# change is all that changes, so they also prove that the file before them has left nothing to do.
ORDER = ("site", "page", "attacks", "baseline", "flows", "replace", "drift", "cluster", "secrets", "changes")


@pytest.fixture(scope="session", autouse=True)
def lab() -> Iterator[None]:
    """Fresh machines at the start, no trace of them at the end."""
    os.environ.update(ENVIRONMENT)
    lab_command("down")
    lab_command("up")
    yield
    lab_command("down")


@pytest.fixture(scope="session")
def converged() -> Play:
    """site.yml has run, and told all that it can tell."""
    return play("site.yml", verbosity=3).must_pass()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files in their order."""
    place = {f"test_{name}.py": place for place, name in enumerate(ORDER)}
    items.sort(key=lambda item: place.get(item.path.name, len(ORDER)))


def lab_command(*arguments: str) -> None:
    """Run a command of the lab; if it fails, what it printed is the reason."""
    done = subprocess.run(
        ["lab", *arguments], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        pytest.fail(f"lab {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}", pytrace=False)


@pytest.fixture
def on_machine() -> Callable[..., str]:
    """Run a command on a machine as root and return its standard output."""

    def run(machine: str, *command: str) -> str:
        done = subprocess.run(
            ["lab", "exec", machine, "--", "sudo", *command],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
        )
        return done.stdout.strip()

    return run


@pytest.fixture
def container_ids(on_machine: Callable[..., str]) -> Callable[[], dict[str, str]]:
    """Container name -> container id, over the whole fleet."""

    def read() -> dict[str, str]:
        return {
            role: on_machine(f"{role}-1", "docker", "inspect", "--format", "{{.Id}}", role)
            for role in ("kafka", "mongo", "processor", "producers")
        }

    return read


@pytest.fixture(scope="module")
def api() -> str:
    """The API's address, as the inventory has it."""
    return f"http://{host_variables('processor-1')['ansible_host']}:8080"


@pytest.fixture(scope="module")
def token() -> str:
    """The API's token, as the operator asks for it."""
    command = ["make", "-s", "api-token"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()[-1]


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real trace where it is at hand, else a seeded one of the same shape."""
    real = Path(os.environ.get("TRACE") or ROOT.parent / "shared" / "data" / "azure-llm-2023-code.csv")
    if real.is_file():
        return real
    synthetic = tmp_path_factory.mktemp("trace") / "synthetic-trace.csv"
    subprocess.run(
        ["python", "-m", "gpu_token_producers", "trace", "--rows", "8819", "--seed", "1", str(synthetic)],
        check=True,
    )
    return synthetic
