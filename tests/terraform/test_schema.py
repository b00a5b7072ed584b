"""Every block of terraform/ against the provider's schema, and each kind of fault by example."""

from __future__ import annotations

from pathlib import Path

import pytest
from hcl2.api import loads

from tests.terraform.hcl import Part, files, parts, used_types
from tests.terraform.schema_check import (
    deprecated_references,
    faults,
    load_deprecated,
    load_schemas,
    schema_of,
)

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
SCHEMAS = load_schemas()
DEPRECATED = load_deprecated()


def parts_of(text: str) -> list[Part]:
    """The parts of a piece of HCL."""
    found = []
    for kind in ("resource", "data"):
        for entry in loads(text).get(kind, []):
            for type_name, named in entry.items():
                for name, body in named.items():
                    found.append(Part(kind, type_name.strip('"'), name.strip('"'), body, Path("example.tf")))
    return found


@pytest.mark.parametrize("file", files(TERRAFORM), ids=lambda file: str(file.relative_to(TERRAFORM)))
def test_blocks_fit_the_schema(file: Path) -> None:
    found = [fault for part in parts(file) for fault in faults(part, SCHEMAS, DEPRECATED)]
    found += deprecated_references(file.read_text(), DEPRECATED)
    assert not found, "\n".join(found)


def test_the_schema_file_covers_exactly_what_is_used() -> None:
    resources, data_sources = used_types(TERRAFORM)
    assert set(SCHEMAS["resource_schemas"]) == resources
    assert set(SCHEMAS["data_source_schemas"]) == data_sources


def test_what_is_called_deprecated_exists() -> None:
    for type_name, attributes in DEPRECATED.items():
        kind = "data" if type_name.startswith("data.") else "resource"
        part = Part(kind, type_name.removeprefix("data."), "x", {}, Path("deprecated.json"))
        schema = schema_of(part, SCHEMAS)
        assert schema is not None, type_name
        assert set(attributes) <= {*schema["attributes"], *schema["block_types"]}, type_name


VPC = 'resource "aws_vpc" "x" {{ cidr_block = "10.0.0.0/16"\n {} }}'
INSTANCE = 'resource "aws_instance" "x" {{ {} }}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            'resource "aws_vpcc" "x" {}', "the schema file has no resource type aws_vpcc", id="unknown type"
        ),
        pytest.param(
            'data "aws_zones" "x" {}', "the schema file has no data type aws_zones", id="unknown data source"
        ),
        pytest.param(
            VPC.format("colour = true"), "aws_vpc.x: colour is unknown to the provider", id="unknown argument"
        ),
        pytest.param(
            VPC.format("enable_dns_suport = true"),
            "enable_dns_suport is unknown: did you mean enable_dns_support",
            id="misspelt argument",
        ),
        pytest.param(
            INSTANCE.format("root_block_devise {\n volume_size = 8\n }"),
            "root_block_devise is unknown: did you mean root_block_device",
            id="misspelt block",
        ),
        pytest.param(
            INSTANCE.format('metadata_options {\n http_token = "required"\n }'),
            "aws_instance.x, metadata_options: http_token is unknown: did you mean http_tokens",
            id="misspelt argument in a block",
        ),
        pytest.param(
            INSTANCE.format(
                'dynamic "metadata_options" {\n for_each = [1]\n content {\n http_token = "required"\n }\n }'
            ),
            "http_token is unknown: did you mean http_tokens",
            id="misspelt argument in a dynamic block",
        ),
        pytest.param(
            'resource "aws_volume_attachment" "x" {\n device_name = "/dev/sdf"\n volume_id = "v"\n }',
            "instance_id is missing and required",
            id="missing argument",
        ),
        pytest.param(
            'data "aws_availability_zones" "x" {\n filter {\n name = "state"\n }\n }',
            "data.aws_availability_zones.x, filter: values is missing and required",
            id="missing argument in a block",
        ),
        pytest.param(
            VPC.format('arn = "a"'), "arn is set by AWS and cannot be written", id="read-only argument"
        ),
        pytest.param(
            'resource "aws_iam_role" "x" {\n assume_role_policy = "{}"\n managed_policy_arns = []\n }',
            "managed_policy_arns is deprecated: use the resource aws_iam_role_policy_attachment",
            id="deprecated argument",
        ),
        pytest.param(
            INSTANCE.format("network_interface {\n device_index = 0\n network_interface_id = 1\n }"),
            "network_interface is deprecated: use primary_network_interface",
            id="deprecated block",
        ),
    ],
)
def test_a_fault_is_named(text: str, sentence: str) -> None:
    found = [fault for part in parts_of(text) for fault in faults(part, SCHEMAS, DEPRECATED)]
    assert len(found) == 1, found
    assert sentence in found[0]
    assert found[0].startswith("example.tf: ")
    assert found[0].endswith(".")


def test_a_missing_block_is_named() -> None:
    part = Part("resource", "x", "y", {}, Path("example.tf"))
    schemas = {
        "resource_schemas": {
            "x": {
                "block": {
                    "attributes": {},
                    "block_types": {"size": {"min_items": 1, "block": {"attributes": {}, "block_types": {}}}},
                }
            }
        }
    }
    assert list(faults(part, schemas, {})) == [
        "example.tf: x.y: the block size is missing and required: add it."
    ]


def test_a_deprecated_reference_is_named() -> None:
    found = list(deprecated_references("value = data.aws_region.current.name", DEPRECATED))
    assert found == ["data.aws_region.current.name is deprecated: use region (deprecated in 6.0.0)."]
    assert not list(deprecated_references("value = data.aws_region.current.region", DEPRECATED))
