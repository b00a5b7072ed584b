"""How full the disks of Kafka and MongoDB are, as these tell it themselves."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from gpu_token_contracts.login import read_login

from gpu_token_processor.monitor import Monitor, Probe
from gpu_token_processor.settings import Settings

# The client logs each attempt; the probe says it once.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

# As the roles judge them (plugins/filter/checks.py).
NEARLY_FULL = 0.80
FULL = 0.95

_INTERVAL_SECONDS = 60.0
_TIMEOUT_MS = 10_000
_GIB = 2**30


class Disk(NamedTuple):
    """One file system."""

    name: str
    used_bytes: int
    total_bytes: int

    @property
    def used_share(self) -> float:
        """From 0 to 1."""
        return self.used_bytes / self.total_bytes

    @property
    def sentence(self) -> str:
        """How full it is, and what to do."""
        used, total = self.used_bytes / _GIB, self.total_bytes / _GIB
        return (
            f"the disk of {self.name} is {self.used_share:.0%} full ({used:.1f} of {total:.1f} GiB): "
            "give it a larger one, or keep events for less long"
        )


Ask = Callable[[], Sequence[Disk]]


class Disks:
    """Asks once a minute. What does not answer, or does not tell, has no disk here."""

    def __init__(self, asks: Mapping[str, Ask]) -> None:
        self._found: dict[str, Sequence[Disk]] = {}
        probes = [Probe(f"the disk of {name}", partial(self._look, name, ask)) for name, ask in asks.items()]
        self._monitor = Monitor(*probes, interval_seconds=_INTERVAL_SECONDS)

    def start(self) -> None:
        """Begin to ask."""
        self._monitor.start()

    def stop(self) -> None:
        """Ask no more."""
        self._monitor.stop()

    @property
    def known(self) -> list[Disk]:
        """By name."""
        return sorted(disk for found in list(self._found.values()) for disk in found)

    @property
    def warnings(self) -> list[str]:
        """A sentence for each that is nearly full."""
        return [disk.sentence for disk in self.known if NEARLY_FULL <= disk.used_share < FULL]

    @property
    def reasons(self) -> list[str]:
        """A sentence for each that is full."""
        return [disk.sentence for disk in self.known if disk.used_share >= FULL]

    def _look(self, name: str, ask: Ask) -> None:
        # Not known rather than old.
        self._found.pop(name, None)
        self._found[name] = ask()


def mongodb_disks(stats: Callable[[], Mapping[str, float]]) -> Ask:
    """By what dbStats says; other stores of the protocol do not know their disk."""

    def ask() -> Sequence[Disk]:
        told = stats()
        total = told.get("fsTotalSize", 0)
        return [Disk("mongodb", int(told["fsUsedSize"]), int(total))] if total else []

    return ask


def kafka_disks(settings: Settings) -> Ask:
    """By a client of its own, since librdkafka does not ask for disks. Raises SettingsError."""
    login = read_login("KAFKA", settings.kafka_username, settings.kafka_password_file, settings.kafka_ca_file)
    security = (
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": login.username,
            "sasl_plain_password": login.password,
            "ssl_cafile": login.ca_file,
        }
        if login
        else {}
    )

    def ask() -> Sequence[Disk]:
        # It takes a second to load, for which the start need not wait.
        from kafka import KafkaAdminClient  # type: ignore[import-untyped]

        client = KafkaAdminClient(
            bootstrap_servers=settings.kafka_bootstrap.split(","),
            client_id="gpu-token-disks",
            bootstrap_timeout_ms=_TIMEOUT_MS,
            request_timeout_ms=_TIMEOUT_MS,
            **security,
        )
        try:
            brokers = client.describe_log_dirs(topic_partitions=[])
        finally:
            client.close()
        return [_broker_disk(broker["broker"], broker["log_dirs"]) for broker in brokers]

    return ask


def _broker_disk(broker: int, log_dirs: Sequence[Mapping[str, int]]) -> Disk:
    """The role gives a broker one folder, on one disk."""
    for log_dir in log_dirs:
        total = log_dir["total_bytes"]
        if total > 0:
            return Disk(f"kafka-{broker}", total - log_dir["usable_bytes"], total)
    raise LookupError(f"broker {broker} does not tell: its user needs the right to describe the cluster")
