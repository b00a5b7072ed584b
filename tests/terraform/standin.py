"""A stand-in for the AWS provider that serves its real schema and nothing else.

Terraform needs a provider's schema to validate a configuration, and to run `terraform test`
with mock_provider; it never asks such a provider to make anything. So a small gRPC server is
enough, and no registry and no AWS account are needed. Terraform finds it by
TF_REATTACH_PROVIDERS, which also keeps `terraform init` from downloading the real one.

A process of its own, as a provider is: where gRPC has served, later forks of that process may die.

Protocol: tfplugin5 (terraform/docs/plugin-protocol). Messages are encoded by hand, since of
all of them only the schema has content.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from tests.terraform.schema_check import load_deprecated, load_schemas

PROVIDER = "registry.terraform.io/hashicorp/aws"
NESTING = {"single": 1, "list": 2, "set": 3}

Rpc = Callable[[bytes, grpc.ServicerContext], bytes]


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(number: int, value: bytes | str | int) -> bytes:
    """One protobuf field; zero, false and empty are left out, as proto3 does."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def encode_block(block: dict[str, Any], deprecated: dict[str, str]) -> bytes:
    """Schema.Block: attributes (2) and block_types (3)."""
    encoded = b""
    for name, attribute in block["attributes"].items():
        encoded += field(
            2,
            field(1, name)
            + field(2, json.dumps(attribute["type"]))
            + field(4, attribute.get("required", False))
            + field(5, attribute.get("optional", False))
            + field(6, attribute.get("computed", False))
            + field(9, name in deprecated),
        )
    for name, nested in block["block_types"].items():
        encoded += field(
            3,
            field(1, name)
            + field(2, encode_block(nested["block"], {}) + field(6, name in deprecated))
            + field(3, NESTING[nested["nesting_mode"]])
            + field(4, nested.get("min_items", 0))
            + field(5, nested.get("max_items", 0)),
        )
    return encoded


def encode_schema(schemas: dict[str, Any], deprecated: dict[str, dict[str, str]]) -> bytes:
    """GetProviderSchema.Response: provider (1), resource (2) and data source (3) schemas by name."""

    def schema(content: dict[str, Any], name: str) -> bytes:
        return field(2, encode_block(content["block"], deprecated.get(name, {})))

    encoded = field(1, schema(schemas["provider"], "provider"))
    for name, content in schemas["resource_schemas"].items():
        encoded += field(2, field(1, name) + field(2, schema(content, name)))
    for name, content in schemas["data_source_schemas"].items():
        encoded += field(3, field(1, name) + field(2, schema(content, f"data.{name}")))
    return encoded


def handlers(served: bytes) -> grpc.GenericRpcHandler[bytes, bytes]:
    """The calls that terraform makes; without (de)serialisers they take and give the encoded message."""
    calls: dict[str, Rpc] = {
        "GetSchema": lambda request, context: served,
        # The prepared configuration (1) is the one that was sent (1).
        "PrepareProviderConfig": lambda request, context: request,
        "ValidateResourceTypeConfig": lambda request, context: b"",
        "ValidateDataSourceConfig": lambda request, context: b"",
        "Stop": lambda request, context: b"",
    }
    return grpc.method_handlers_generic_handler(
        "tfplugin5.Provider",
        {name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()},
    )


def environment(port: int) -> dict[str, str]:
    """Environment variables that make a terraform command use the provider at this port."""
    reattach = {
        PROVIDER: {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    }
    return {"TF_REATTACH_PROVIDERS": json.dumps(reattach)}


def main() -> None:
    """Print the environment as a line of JSON, and serve until the standard input ends."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers([handlers(encode_schema(load_schemas(), load_deprecated()))])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps(environment(port)), flush=True)
    sys.stdin.read()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
