"""What is fetched for servers and peers, once, into build/parts."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fleet import model
from lab.images import reference
from testing.processes import ProcessError, run

ROOT = Path(__file__).parents[1]
_PARTS = ROOT / "build" / "parts"
_KAFKA_CONTEXT = ROOT / "lab" / "images" / "contexts" / "kafka"
KAFKA_LOGGING = _KAFKA_CONTEXT / "files" / "etc" / "kafka" / "docker" / "log4j2.yaml"


def kafka_libs() -> Path:
    """Folder of the broker's jars: those of the lab's Kafka image."""
    version = kafka_version()

    def fetch(folder: Path) -> None:
        environment = {**os.environ, "KAFKA_VERSION": version, "PYTHON": sys.executable}
        run(["sh", "prepare.sh", str(folder)], cwd=_KAFKA_CONTEXT, environment=environment)

    return once(f"kafka-{version}", [], fetch) / "libs"


def prometheus() -> Path:
    """The server, as Debian packages it. It needs no other package, and is unpacked, not installed."""

    def fetch(folder: Path) -> None:
        folder.mkdir()
        try:
            run(["apt-get", "download", "prometheus"], cwd=folder)
        except ProcessError:
            # The lists of packages are old, or not there.
            run(["apt-get", "update", "-qq"])
            run(["apt-get", "download", "prometheus"], cwd=folder)
        (package,) = folder.glob("*.deb")
        run(["dpkg-deb", "--extract", str(package), str(folder)])
        package.unlink()

    return once("prometheus", [], fetch) / "usr" / "bin" / "prometheus"


def kafka_version() -> str:
    """The broker's version: that of its image in fleet.yml."""
    image = model.load(ROOT / "fleet.yml").images.kafka
    return reference.version("images.kafka", image, 3)


def once(name: str, inputs: Sequence[Path], fetch: Callable[[Path], None]) -> Path:
    """The folder that `fetch` fills; filled again when one of its inputs has changed."""
    folder, stamp = _PARTS / name, _PARTS / f"{name}.made-from"
    made_from = "\n".join(path.read_text() for path in inputs)
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(folder, ignore_errors=True)
        _PARTS.mkdir(parents=True, exist_ok=True)
        fetch(folder)
        stamp.write_text(made_from)
    return folder
