"""How the consumer is set up."""

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError

from gpu_token_processor.settings import Settings

# Other processors take over this long after one has died without a word.
_SESSION_SECONDS = 10
# Upper bound of one poll round; writes are waited for elsewhere, so it is never near.
_MAX_POLL_SECONDS = 300
# For each partition; the machine has 1 GiB in all.
_PREFETCH_KIB = 8_192


def consumer_config(
    settings: Settings, on_error: Callable[[KafkaError], None], log: logging.Logger
) -> dict[str, object]:
    """Commits are ours alone to make; see ledger.py."""
    config: dict[str, object] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "group.id": settings.consumer_group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": _SESSION_SECONDS * 1000,
        "heartbeat.interval.ms": _SESSION_SECONDS * 1000 // 4,
        "max.poll.interval.ms": _MAX_POLL_SECONDS * 1000,
        "queued.max.messages.kbytes": _PREFETCH_KIB,
        # Topics may be made after the processor has started.
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": False,
        "reconnect.backoff.max.ms": 2_000,
        "error_cb": on_error,
        "logger": log,
    }
    if settings.consumer_instance_id:
        config["group.instance.id"] = settings.consumer_instance_id
    return config
