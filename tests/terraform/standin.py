"""A stand-in for the AWS provider that serves its real schema and nothing else.

Terraform needs a provider's schema to validate a configuration, and to run `terraform test`
with mock_provider; it never asks such a provider to make anything. So a small gRPC server in
this process is enough, and no registry and no AWS account are needed. Terraform finds it by
TF_REATTACH_PROVIDERS, which also keeps `terraform init` from downloading the real one.

Protocol: tfplugin5 (terraform/docs/plugin-protocol). Messages are encoded by hand, since of
all of them only the schema has content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc

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


class StandIn:
    """Serves while the `with` block runs; `environment` makes a terraform command use it."""

    def __init__(self, schemas: dict[str, Any], deprecated: dict[str, dict[str, str]]) -> None:
        served = encode_schema(schemas, deprecated)
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._serve(
            {
                "GetSchema": lambda request, context: served,
                # The prepared configuration (1) is the one that was sent (1).
                "PrepareProviderConfig": lambda request, context: request,
                "ValidateResourceTypeConfig": lambda request, context: b"",
                "ValidateDataSourceConfig": lambda request, context: b"",
                "Stop": lambda request, context: b"",
            }
        )

    def _serve(self, calls: dict[str, Rpc]) -> None:
        # Without (de)serialisers, handlers take and give the encoded message.
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)]
        )

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for terraform."""
        reattach = {
            PROVIDER: {
                "Protocol": "grpc",
                "ProtocolVersion": 5,
                "Pid": os.getpid(),
                "Test": True,
                "Addr": {"Network": "tcp", "String": f"127.0.0.1:{self._port}"},
            }
        }
        return {"TF_REATTACH_PROVIDERS": json.dumps(reattach)}

    def __enter__(self) -> StandIn:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(grace=None)
