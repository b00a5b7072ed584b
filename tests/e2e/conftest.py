"""One lab environment for the whole end-to-end run, beside any other that is up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .runner import Play, play

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "LAB_NAME": "e2e",
    "LAB_SUBNET": "10.0.4.0/24",
    "LAB_EC2_PORT": "15300",
    "LAB_REGISTRY_PORT": "15301",
}


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
    """The main job comes first: it starts on fresh machines."""
    items.sort(key=lambda item: item.path.name != "test_site.py")


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
