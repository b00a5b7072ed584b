"""What TLS and SCRAM cost: the same events with both, as the roles run it, and with neither."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AclOperation, ResourceType

from bench import systems
from bench.events import Topics, send
from bench.ingest import Load, loads, once_warm
from bench.results import RUNS, Note, Result, compare_runs
from bench.store import StoreLogin, WatchedStore
from testing.authority import Authority
from testing.processes import Process
from testing.secured_broker import SecuredBroker

_USER = "processor"
_GROUP = "gpu-token-processor"


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: CPU seconds per million events of the processor and of the broker, events a second."""

    processor_cpu: float
    broker_cpu: float
    throughput: float


_UNITS = {
    "processor_cpu": ("cpu-secured-vs-plain", "CPU seconds per million events"),
    "broker_cpu": ("broker-cpu-secured-vs-plain", "CPU seconds per million events"),
    "throughput": ("throughput-secured-vs-plain", "events a second"),
}


def secured(folder: Path, count: int, note: Note) -> list[Result]:
    """Broker and store with TLS and logins, compared with the same two without."""
    authority = Authority(folder, "ca")
    password = secrets.token_hex(16)
    password_file = folder / "password"
    password_file.write_text(password)
    login = StoreLogin(_USER, password, authority)
    logins = {
        f"{service}_{name}": value
        for service in ("KAFKA", "MONGO")
        for name, value in (
            ("USERNAME", _USER),
            ("PASSWORD_FILE", str(password_file)),
            ("CA_FILE", str(authority.file)),
        )
    }
    place = folder / "secured"
    place.mkdir()
    runs: dict[str, list[Measured]] = {"plain": [], "secured": []}
    with SecuredBroker(place, authority, at_full_speed=True) as broker:
        broker.set_password(_USER, password)
        broker.allow(_USER, AclOperation.READ, [_GROUP], ResourceType.GROUP)
        for number, load in enumerate(loads(folder, count), start=1):
            for name, measured in runs.items():
                note(f"run {number} of {RUNS}: {name}")
                topics = Topics.named(f"{name}-{number}")
                broker.make_topics(topics)
                broker.allow(_USER, AclOperation.READ, topics)
                own = place / f"{name}-{number}"
                own.mkdir()
                with_login = name == "secured"
                with (
                    WatchedStore(own, indexes=False, login=login if with_login else None) as store,
                    systems.processor(
                        broker.address if with_login else broker.bootstrap,
                        topics,
                        store,
                        own,
                        more=logins if with_login else None,
                    ) as process,
                ):
                    measured.append(_measure(broker, topics, store, process, load))
    return [
        compare_runs(name, unit, what, runs["secured"], runs["plain"])
        for what, (name, unit) in _UNITS.items()
    ]


def _measure(
    broker: SecuredBroker, topics: Topics, store: WatchedStore, process: Process, load: Load
) -> Measured:
    """Events are sent in plain text in both cases, so that only the broker's deliveries differ."""
    send(broker.bootstrap, topics, load.warm_up)
    uses = process.used, broker.used
    (processor_cpu, broker_cpu), throughput = once_warm(broker.bootstrap, topics, store, process, load, *uses)
    return Measured(processor_cpu, broker_cpu, throughput)
