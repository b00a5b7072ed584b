"""How the consumer is set up."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError
from gpu_token_contracts.login import explain_kafka, kafka_security

from gpu_token_processor.settings import Settings

# Syslog's level.
_CRITICAL = 2
_REPEAT_SECONDS = 60.0
# Other processors take over this long after one has died without leaving the group.
_SESSION_SECONDS = 10
# Upper bound of one poll round. Writes are waited for elsewhere, so a round is always much shorter.
_MAX_POLL_SECONDS = 300
# In all, whatever the number of partitions; the machine has 1 GiB.
_PREFETCH_KIB = 8_192


class ErrorLog:
    """Logs each of a client's errors when it is new, not each time it tries to connect again."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._logged: dict[str, float] = {}
        # The latest error that says why a broker cannot be reached.
        self.cause: str | None = None

    def __call__(self, error: KafkaError) -> None:
        """The client's error callback."""
        # Without the attempt's milliseconds, which make every message different.
        text = explain_kafka(error.name(), error.str().split(" (after ", 1)[0])
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.cause = text
        now = time.monotonic()
        self._logged = {said: at for said, at in self._logged.items() if now - at <= _REPEAT_SECONDS}
        if text not in self._logged:
            self._logged[text] = now
            self._log.warning("Kafka: %s", text)


def ends_client(error: KafkaError) -> bool:
    """Whether the client is of no use after this error and must be replaced."""
    return error.fatal() or error.code() == KafkaError._FATAL


def quiet(on_error: Callable[[KafkaError], None]) -> dict[str, object]:
    """Settings of a client that reports errors only to its callback, and does not log them too."""
    return {"error_cb": on_error, "log_level": _CRITICAL}


def connection(settings: Settings) -> dict[str, object]:
    """Settings that every client needs. Raises SettingsError."""
    login = kafka_security(settings.kafka_username, settings.kafka_password_file, settings.kafka_ca_file)
    return {"bootstrap.servers": settings.kafka_bootstrap, **login}


def consumer_config(settings: Settings, on_error: Callable[[KafkaError], None]) -> dict[str, object]:
    """The consumer's settings. Only the poller commits; see offsets.py."""
    config: dict[str, object] = {
        **connection(settings),
        "group.id": settings.consumer_group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": _SESSION_SECONDS * 1000,
        "heartbeat.interval.ms": _SESSION_SECONDS * 1000 // 4,
        "max.poll.interval.ms": _MAX_POLL_SECONDS * 1000,
        "queued.max.messages.kbytes": _PREFETCH_KIB,
        # Topics may be created after the processor has started.
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": False,
        "reconnect.backoff.max.ms": 2_000,
        **quiet(on_error),
    }
    if settings.consumer_instance_id:
        config["group.instance.id"] = settings.consumer_instance_id
    return config
