"""One process that reads and receives many sources."""

import fcntl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_token_contracts.login import read_token

from gpu_token_producers.delivery import Delivery, KafkaDelivery
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.intake.app import create_app
from gpu_token_producers.intake.metrics import IntakeMetrics
from gpu_token_producers.intake.server import Server
from gpu_token_producers.intake.source import IntakeSource
from gpu_token_producers.intake.state import FileState
from gpu_token_producers.run import KafkaSettings, Run
from gpu_token_producers.sources.gpus.readers import ExporterReader, SmiReader
from gpu_token_producers.sources.journal import SUFFIX, Journal
from gpu_token_producers.sources.prometheus import PrometheusReader
from gpu_token_producers.sources.scraping import EngineReader, Reader
from gpu_token_producers.sources.settings import EngineSource, GpuSource, PrometheusSource, SmiSource, Sources
from gpu_token_producers.sources.status import Metrics, Status, write_status

_STATUS_SECONDS = 5.0
# Of the time for a stop, this is left for the last deliveries.
_DRAIN_SECONDS = 1.0
# One that waits for its target longer than this is told not to: it loses nothing.
_READERS_SECONDS = 2.0
_GIVING_UP_SECONDS = 1.0


def collect(sources: Sources, sending: Run, kafka: KafkaSettings, state_directory: Path) -> None:
    """Until a stop is asked for. Raises ProducerError."""
    with _only_one(state_directory):
        delivery = KafkaDelivery(sending.sender, kafka.topic_metric, kafka.topic_token)
        metrics = Metrics()
        statuses = {source.name: Status(source.name, source.type, metrics) for source in sources.sources}
        readers = list(_readers(sources, statuses, state_directory, delivery))
        server = _intake(sources, statuses, delivery, metrics, state_directory, kafka.stop_seconds)
        threads = [
            threading.Thread(target=reader.run, name=reader.status.name, daemon=True) for reader in readers
        ]
        for thread in threads:
            thread.start()
        try:
            if server is not None:
                server.start()
            _watch(sending, statuses, state_directory / "status.json")
        finally:
            for reader in readers:
                reader.stop.set()
            _end(sending, dict(zip(threads, readers, strict=True)), server, kafka.stop_seconds)
            for reader in readers:
                # What is not forgotten is sent again, under the same ids.
                with suppress(ProducerError):
                    reader.settle()


def _watch(sending: Run, statuses: Mapping[str, Status], status_file: Path) -> None:
    """Hand events to Kafka and write status.json, until a stop is asked for or Kafka refuses for good."""
    unwritable = False
    while not sending.stop.requested:
        try:
            write_status(status_file, list(statuses.values()))
            unwritable = False
        except OSError as error:
            if not unwritable:
                unwritable = True
                print(f"{status_file} cannot be written: {error.strerror}.", file=sys.stderr, flush=True)
        sending.sender.pause(_STATUS_SECONDS)
        if sending.sender.fatal:
            raise ProducerError(f"{sending.sender.cause} Start again: nothing that was read is lost.")


def _end(
    sending: Run, readers: Mapping[threading.Thread, Reader], server: Server | None, stop_seconds: float
) -> None:
    """Wait for readers and intake, and serve Kafka meanwhile: the intake answers when it has the events."""
    begun = sending.stop.since or time.monotonic()
    last = begun + max(stop_seconds - _DRAIN_SECONDS, 0)
    patience = min(begun + _READERS_SECONDS, last)
    deadlines = dict.fromkeys(readers, min(patience + _GIVING_UP_SECONDS, last))
    if server is not None:
        ending = threading.Thread(target=server.stop, name="stop", daemon=True)
        ending.start()
        deadlines[ending] = last
    given_up = False
    while any(thread.is_alive() and time.monotonic() < end for thread, end in deadlines.items()):
        if not given_up and time.monotonic() >= patience:
            given_up = True
            for thread, reader in readers.items():
                if thread.is_alive():
                    reader.give_up()
        sending.sender.drain(0, 0)
        time.sleep(0.02)


def _readers(
    sources: Sources, statuses: Mapping[str, Status], state_directory: Path, delivery: Delivery
) -> Iterator[Reader]:
    engines: dict[tuple[str, str], Journal] = {}
    lock = threading.Lock()

    def journal_of(kind: str, address: str) -> Journal:
        """The one journal of an engine, whoever reads it."""
        with lock:
            if (kind, address) not in engines:
                engines[kind, address] = Journal(state_directory, f"{kind} {address}", delivery)
            return engines[kind, address]

    scraped = {
        (source.type, source.address) for source in sources.sources if isinstance(source, EngineSource)
    }
    servers = [
        PrometheusReader(
            source,
            statuses[source.name],
            Journal(state_directory, f"prometheus {source.name}", delivery),
            engine_journal=journal_of,
            scraped=scraped,
        )
        for source in sources.sources
        if isinstance(source, PrometheusSource)
    ]
    yield from servers
    for source in sources.sources:
        status = statuses[source.name]
        if isinstance(source, EngineSource):
            first = [server.caught_up for server in servers if source.type in server.reads]
            yield EngineReader(source, status, journal_of(source.type, source.address), first)
        elif isinstance(source, GpuSource):
            journal = Journal(state_directory, f"{source.type} {source.address}", delivery)
            yield ExporterReader(source, status, journal)
        elif isinstance(source, SmiSource):
            yield SmiReader(
                source, status, Journal(state_directory, f"{source.type} {source.name}", delivery)
            )


def _intake(
    sources: Sources,
    statuses: Mapping[str, Status],
    delivery: Delivery,
    metrics: Metrics,
    state_directory: Path,
    stop_seconds: float,
) -> Server | None:
    """What senders reach, if there are any."""
    if sources.intake is None:
        return None
    token = read_token("intake.token_file", str(sources.intake.token_file), "the token that senders show")
    received = [
        IntakeSource(
            source.name,
            source.type,
            source.labels,
            FileState(state_directory / f"otlp {source.name}.json"),
            statuses[source.name].works,
        )
        for source in sources.received
    ]
    app = create_app(received, token, delivery, IntakeMetrics(metrics.registry))
    # The rest is for the deliveries that are left.
    return Server(
        app,
        sources.intake.port,
        host=sources.intake.address,
        stop_seconds=max(stop_seconds - _DRAIN_SECONDS, 0),
    )


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """The folder for this process alone. Raises ProducerError if it cannot be written, or another has it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("wb")
    except OSError as error:
        raise ProducerError(
            f"COLLECT_STATE_DIR {directory} cannot be written ({error.strerror}): "
            "give a folder that belongs to this user and outlives the container."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ProducerError(
                f"COLLECT_STATE_DIR {directory} is in use by another collector: "
                "stop it, or give each a folder and sources of its own."
            ) from error
        # What a collector that was killed was about to write.
        for left in directory.glob(f".*{SUFFIX}.*"):
            left.unlink(missing_ok=True)
        yield
