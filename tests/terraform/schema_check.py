"""Holds blocks of HCL against a provider's schema; every fault is one sentence."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.terraform.hcl import Part, own_keys

HERE = Path(__file__).parent
SCHEMA_FILE = HERE / "schema" / "aws.json"
DEPRECATED_FILE = HERE / "schema" / "deprecated.json"
PROVIDER = "registry.terraform.io/hashicorp/aws"

# What Terraform itself understands in any block of the kind.
META = {
    "resource": {"count", "depends_on", "for_each", "lifecycle", "provider", "provisioner", "connection"},
    "data": {"count", "depends_on", "for_each", "lifecycle", "provider"},
    "provider": {"alias"},
}

Schemas = dict[str, Any]
Deprecated = dict[str, dict[str, str]]


def load_schemas() -> Schemas:
    """The provider's schemas: provider, resource_schemas, data_source_schemas."""
    schemas: Schemas = json.loads(SCHEMA_FILE.read_text())["provider_schemas"][PROVIDER]
    return schemas


def load_deprecated() -> Deprecated:
    """What not to use any more, by type ("data." before a data source's), with what to use instead."""
    deprecated: Deprecated = json.loads(DEPRECATED_FILE.read_text())
    return deprecated


def schema_of(part: Part, schemas: Schemas) -> dict[str, Any] | None:
    """The block schema of a part, or None if the provider's schema file has no such type."""
    if part.kind == "provider":
        found = schemas["provider"] if part.type == "aws" else None
    else:
        section = {"resource": "resource_schemas", "data": "data_source_schemas"}[part.kind]
        found = schemas[section].get(part.type)
    return None if found is None else found["block"]


def faults(part: Part, schemas: Schemas, deprecated: Deprecated) -> Iterator[str]:
    """Every fault of one resource, data source or provider block."""
    schema = schema_of(part, schemas)
    if schema is None:
        section = "provider" if part.kind == "provider" else f"{part.kind} type"
        yield (
            f"{part.address}: the schema file has no {section} {part.type}: correct the name, "
            "or run python -m tests.terraform.extract_schema if it is new here."
        )
        return
    key = {"resource": part.type, "data": f"data.{part.type}", "provider": "provider"}[part.kind]
    body = {name: value for name, value in own_keys(part.body).items() if name not in META[part.kind]}
    yield from _block_faults(part.address, body, schema, deprecated.get(key, {}))


def _block_faults(
    where: str, body: dict[str, Any], schema: dict[str, Any], old: dict[str, str]
) -> Iterator[str]:
    attributes, blocks = schema["attributes"], schema["block_types"]
    written = _with_dynamic(body)
    for name, value in written.items():
        if name in old:
            yield f"{where}: {name} is deprecated: {old[name]}."
        if name in blocks:
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, dict):
                    yield from _block_faults(f"{where}, {name}", own_keys(entry), blocks[name]["block"], {})
        elif name not in attributes:
            yield f"{where}: {name} is unknown{_nearest(name, [*attributes, *blocks])}."
        elif not (attributes[name].get("optional") or attributes[name].get("required")):
            yield f"{where}: {name} is set by AWS and cannot be written: remove it."
    for name, attribute in attributes.items():
        if attribute.get("required") and name not in written:
            yield f"{where}: {name} is missing and required: give it a value."
    for name, block in blocks.items():
        if block.get("min_items", 0) > 0 and name not in written:
            yield f"{where}: the block {name} is missing and required: add it."


def _with_dynamic(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the content of `dynamic` blocks in their place."""
    written = {name: value for name, value in body.items() if name != "dynamic"}
    for entry in body.get("dynamic", []):
        for label, block in entry.items():
            written.setdefault(label.strip('"'), []).extend(block["content"])
    return written


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {near[0]}" if near else " to the provider: remove it"


def deprecated_references(text: str, deprecated: Deprecated) -> Iterator[str]:
    """Deprecated attributes that expressions read, such as data.aws_region.current.name."""
    for type_name, attributes in deprecated.items():
        for name, instead in attributes.items():
            pattern = rf"(?<![\w.]){re.escape(type_name)}\.\w+(\[[^\]]*\])?\.{name}\b"
            for match in re.finditer(pattern, text):
                yield f"{match.group(0)} is deprecated: {instead}."
