"""Reads terraform/ with python-hcl2 and gives its parts plain names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hcl2.api import load

PRIVATE = "__"  # python-hcl2 adds __start_line__ and the like


@dataclass(frozen=True)
class Part:
    """One resource, data source or provider block."""

    kind: str  # resource, data or provider
    type: str  # aws_vpc; aws for the provider
    name: str
    body: dict[str, Any]
    file: Path

    @property
    def address(self) -> str:
        """How a message names it."""
        prefix = {"resource": "", "data": "data.", "provider": "provider."}[self.kind]
        return f"{self.file.name}: {prefix}{self.type}" + (f".{self.name}" if self.name else "")


@cache
def parse(file: Path) -> dict[str, Any]:
    """One file's blocks as python-hcl2 gives them; expressions stay strings such as "${var.x}"."""
    with file.open() as stream:
        parsed: dict[str, Any] = load(stream)
    return parsed


def files(folder: Path) -> list[Path]:
    """Every .tf file below a folder, without what Terraform itself keeps there."""
    return sorted(file for file in folder.rglob("*.tf") if ".terraform" not in file.parts)


def parts(file: Path) -> Iterator[Part]:
    """Every block of a file that a provider's schema describes."""
    document = parse(file)
    for kind in ("resource", "data"):
        for entry in document.get(kind, []):
            for type_name, named in entry.items():
                for name, body in named.items():
                    yield Part(kind, unquote(type_name), unquote(name), body, file)
    for entry in document.get("provider", []):
        for name, body in entry.items():
            yield Part("provider", unquote(name), "", body, file)


def used_types(folder: Path) -> tuple[set[str], set[str]]:
    """The resource types and the data source types in use."""
    found = [part for file in files(folder) for part in parts(file)]
    return (
        {part.type for part in found if part.kind == "resource"},
        {part.type for part in found if part.kind == "data"},
    )


def named_blocks(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """The `variable` or `output` blocks of one module folder, by name."""
    return {
        unquote(name): body
        for file in sorted(folder.glob("*.tf"))
        for entry in parse(file).get(kind, [])
        for name, body in entry.items()
    }


def unquote(text: str) -> str:
    """A label as written, whichever way the parser hands it over."""
    return text.strip('"')


def own_keys(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what the parser added."""
    return {key: value for key, value in body.items() if not key.startswith(PRIVATE)}
