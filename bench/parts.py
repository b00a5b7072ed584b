"""The peers that the benchmark runs beside the processor, fetched once."""

import os
import sys
from pathlib import Path

from testing.parts import ROOT, kafka_version, once
from testing.processes import run

_CONNECTOR_POM = ROOT / "bench" / "pom.xml"
_QUIX_REQUIREMENTS = ROOT / "bench" / "quix-requirements.txt"
_DUCKDB_REQUIREMENTS = ROOT / "bench" / "duckdb-requirements.txt"


def connector_libs() -> Path:
    """Folder of the jars of Kafka Connect and MongoDB's connector."""
    version = kafka_version()

    def fetch(folder: Path) -> None:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        environment = {**os.environ, "KAFKA_VERSION": version}
        run(["mvn", "-B", "-q", "-ntp", "-f", str(_CONNECTOR_POM), goal, *options], environment=environment)

    return once(f"connector-{version}", [_CONNECTOR_POM], fetch)


def quix_python() -> Path:
    """Interpreter of an environment with Quix Streams, whose pins clash with the processor's."""
    return _python("quix", _QUIX_REQUIREMENTS)


def duckdb_python() -> Path:
    """Interpreter of an environment with DuckDB, which nothing but the benchmark needs."""
    return _python("duckdb", _DUCKDB_REQUIREMENTS)


def _python(name: str, requirements: Path) -> Path:
    def fetch(folder: Path) -> None:
        run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        target = ["--python", str(folder / "bin" / "python"), "--requirements", str(requirements)]
        run(["uv", "pip", "install", "--quiet", *target])

    return once(name, [requirements], fetch) / "bin" / "python"
