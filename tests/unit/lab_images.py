"""A fleet and a registry's storage, as far as the images read them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any


def fleet(kafka: str = "apache/kafka:4.1.1", python: str = "python:3.13-slim") -> Any:
    """A fleet as far as the images read it."""
    return SimpleNamespace(images=SimpleNamespace(kafka=kafka, mongo="mongo:7.0", python=python))


def stored(root: Path, repository: str, tag: str) -> None:
    """Lay a tag down as the registry does."""
    registry = root / "docker/registry/v2"
    link = registry / f"repositories/{repository}/_manifests/tags/{tag}/current/link"
    blob = registry / "blobs/sha256/ab/abcd/data"
    for file, content in ((link, "sha256:abcd"), (blob, "{}")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
