"""Clients of an API that stands in for AWS."""

from __future__ import annotations

from typing import Any

import boto3

from lab.ec2_server import REGION


def client(service: str, url: str) -> Any:
    """A boto3 client; such an API takes any key."""
    # Its stubs want the service by name.
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
