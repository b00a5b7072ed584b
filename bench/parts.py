"""What the benchmark runs beside the processor, fetched once into build/bench."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.processes import run
from fleet import model
from lab.images import reference

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "build" / "bench"
_KAFKA_CONTEXT = ROOT / "lab" / "images" / "contexts" / "kafka"
KAFKA_LOGGING = _KAFKA_CONTEXT / "files" / "etc" / "kafka" / "docker" / "log4j2.yaml"
_STORE_REQUIREMENTS = ROOT / "lab" / "images" / "contexts" / "mongo" / "requirements.in"
_CONNECTOR_POM = ROOT / "bench" / "pom.xml"
_QUIX_REQUIREMENTS = ROOT / "bench" / "quix-requirements.txt"


def kafka_libs() -> Path:
    """Folder of the broker's jars: those of the lab's Kafka image."""
    version = kafka_version()

    def fetch(folder: Path) -> None:
        environment = {**os.environ, "KAFKA_VERSION": version, "PYTHON": sys.executable}
        run(["sh", "prepare.sh", str(folder)], cwd=_KAFKA_CONTEXT, environment=environment)

    return _once(f"kafka-{version}", [], fetch) / "libs"


def kafka_version() -> str:
    """The broker's version: that of its image in fleet.yml."""
    image = model.load(ROOT / "fleet.yml").images.kafka
    return reference.version("images.kafka", image, 3)


def connector_libs() -> Path:
    """Folder of the jars of Kafka Connect and MongoDB's connector."""
    version = kafka_version()

    def fetch(folder: Path) -> None:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        environment = {**os.environ, "KAFKA_VERSION": version}
        run(["mvn", "-B", "-q", "-ntp", "-f", str(_CONNECTOR_POM), goal, *options], environment=environment)

    return _once(f"connector-{version}", [_CONNECTOR_POM], fetch)


def store_python() -> Path:
    """Interpreter of an environment with the lab's store."""
    return _environment("store", _STORE_REQUIREMENTS)


def quix_python() -> Path:
    """Interpreter of an environment with Quix Streams, whose pins clash with the processor's."""
    return _environment("quix", _QUIX_REQUIREMENTS)


def _environment(name: str, requirements: Path) -> Path:
    def fetch(folder: Path) -> None:
        run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        python = str(folder / "bin" / "python")
        run(["uv", "pip", "install", "--quiet", "--python", python, "--requirements", str(requirements)])

    return _once(name, [requirements], fetch) / "bin" / "python"


def _once(name: str, inputs: Sequence[Path], fetch: Callable[[Path], None]) -> Path:
    """The folder that `fetch` fills; filled again when one of its inputs has changed."""
    folder, stamp = CACHE / name, CACHE / f"{name}.made-from"
    made_from = "\n".join(path.read_text() for path in inputs)
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        fetch(folder)
        stamp.write_text(made_from)
    return folder
