"""How the consumer is set up."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from gpu_token_processor.settings import Settings

# Syslog's level.
_CRITICAL = 2
_REPEAT_SECONDS = 60.0
# Other processors take over this long after one has died without a word.
_SESSION_SECONDS = 10
# Upper bound of one poll round; writes are waited for elsewhere, so it is never near.
_MAX_POLL_SECONDS = 300
# For each partition; the machine has 1 GiB in all.
_PREFETCH_KIB = 8_192


class ErrorLog:
    """Logs each of the client's errors when it is new, not each time it tries to connect again."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: tuple[str, float] = ("", float("-inf"))

    def __call__(self, error: KafkaError) -> None:
        """The client's error callback."""
        # Without the milliseconds of the attempt, which make every message another.
        text, now = error.str().split(" (after ", 1)[0], time.monotonic()
        last_text, last_logged = self._last
        if text != last_text or now - last_logged > _REPEAT_SECONDS:
            self._last = (text, now)
            self._log.warning("Kafka: %s", text)


def quiet(on_error: Callable[[KafkaError], None]) -> dict[str, object]:
    """Settings of a client whose errors are told by callback alone, and not logged by itself too."""
    return {"error_cb": on_error, "log_level": _CRITICAL}


def consumer_config(settings: Settings, on_error: Callable[[KafkaError], None]) -> dict[str, object]:
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
        **quiet(on_error),
    }
    if settings.consumer_instance_id:
        config["group.instance.id"] = settings.consumer_instance_id
    return config
