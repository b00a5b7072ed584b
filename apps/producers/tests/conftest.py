"""A mock broker for the whole run, and topics of its own for each test."""

import uuid
from collections.abc import Iterator

import pytest
from producers_kafka import MockKafka, mock_kafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[MockKafka]:
    with mock_kafka() as broker:
        yield broker


@pytest.fixture
def topics(kafka: MockKafka) -> tuple[str, str]:
    """Names of the topics of GPU metrics and token usage."""
    suffix = uuid.uuid4().hex[:8]
    names = (f"metrics-{suffix}", f"usage-{suffix}")
    kafka.create(*names)
    return names
