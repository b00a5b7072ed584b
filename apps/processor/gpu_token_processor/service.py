"""Starts and stops all parts of one processor."""

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from gpu_token_processor import VERSION
from gpu_token_processor.api.access import read_token
from gpu_token_processor.api.answers import Answers
from gpu_token_processor.api.app import Parts, create_app
from gpu_token_processor.api.budgets import budgets_answer
from gpu_token_processor.api.events import Changes
from gpu_token_processor.api.limits import Rates
from gpu_token_processor.api.models import ConsumerHealth, DiskHealth, FullHealthAnswer, HealthAnswer
from gpu_token_processor.budgets.budgets import Budgets
from gpu_token_processor.budgets.webhook import Webhook, read_webhook_url
from gpu_token_processor.budgets.worker import BudgetWorker
from gpu_token_processor.condition import Condition, judge, seconds_since_poll
from gpu_token_processor.disks import Disks, kafka_disks, mongodb_disks
from gpu_token_processor.exports.days import Ledgers
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.monitor import Monitor, Probe
from gpu_token_processor.pipeline.assembly import DataPath
from gpu_token_processor.pipeline.dead_letters import DeadLetterTopics
from gpu_token_processor.pipeline.kafka import ErrorLog, connection, quiet
from gpu_token_processor.pipeline.sent_letters import SentLetters
from gpu_token_processor.pipeline.state import ConsumerState
from gpu_token_processor.pipeline.supervisor import Supervisor
from gpu_token_processor.rollups.worker import Worker
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.alerts import MongoAlerts
from gpu_token_processor.store.clients import read_client, write_client
from gpu_token_processor.store.closings import MongoClosings
from gpu_token_processor.store.mongo import MongoEventStore
from gpu_token_processor.store.reads import MongoReads, Reads
from gpu_token_processor.store.rollups import MongoRollups

log = logging.getLogger(__name__)

_METADATA_SECONDS = 2.0


class Service:
    """Takes only a moment, even if Kafka and MongoDB do not answer; fails only on bad settings."""

    def __init__(self, settings: Settings) -> None:
        self._token = read_token(settings)
        self._rates = Rates(
            may_ask=settings.api_requests_per_second, strangers=settings.api_stranger_requests_per_second
        )
        self._stop_seconds = settings.consumer_stop_seconds
        api_client = read_client(settings)
        reads = MongoReads(api_client, settings.mongo_database)
        self._catalog = reads.catalog
        self._changes = Changes(reads.state)
        store = MongoEventStore(write_client(settings), settings.mongo_database)
        kafka = connection(settings)
        errors = ErrorLog(log)
        self._metrics = Metrics()
        self._state = ConsumerState()
        self._metrics.report_lag(lambda: self._state.lags)
        letters = {**DeadLetterTopics.config(kafka), **quiet(errors)}
        dead_letters = DeadLetterTopics(lambda: Producer(letters), SentLetters(kafka))
        data_path = DataPath(settings, store, dead_letters, self._state, self._metrics, errors)
        self._supervisor = Supervisor(data_path.run, self._state, self._metrics)
        self._worker = Worker(settings, self._metrics)
        url_file = settings.budget_webhook_url_file
        webhook = None if url_file is None else Webhook(read_webhook_url(url_file))
        self._budget_worker = BudgetWorker(settings, self._metrics, webhook)
        admin: dict[str, Any] = {**kafka, **quiet(errors)}
        topics = (settings.topic_metric, settings.topic_token)
        self._kafka = kafka_probe(AdminClient(admin), errors, topics)
        self._mongodb = mongodb_probe(reads)
        self._monitor = Monitor(self._kafka, self._mongodb)
        self._disks = Disks({"kafka": kafka_disks(settings), "mongodb": mongodb_disks(reads.statistics)})
        self._metrics.report_disks(lambda: self._disks.known)
        rollups = MongoRollups(api_client, settings.mongo_database, settings.retention)
        self._answers = Answers(
            reads,
            window_seconds=settings.window_seconds,
            gap_seconds=settings.metric_gap_seconds,
            default_price_usd=settings.price_per_hour_usd,
            price_per_kwh_usd=settings.price_per_kwh_usd,
            rollups=rollups,
        )
        price = exact(settings.price_per_hour_usd)
        self._budgets = Budgets(
            lambda: Ledgers(reads, rollups, settings.metric_gap_us, price), rollups.hours_of_events
        )
        self._alerts = MongoAlerts(api_client, settings.mongo_database)
        self._exports = Exports(
            reads,
            rollups,
            settings.metric_gap_us,
            price,
            MongoClosings(api_client, settings.mongo_database),
            rollups.hours_known,
        )

    def app(self) -> ASGIApp:
        """The HTTP application, which starts and stops the rest."""
        return create_app(
            Parts(
                self._answers,
                self._exports,
                self._changes,
                lambda: budgets_answer(self._budgets, self._alerts.crossed, datetime.now(UTC)),
                self._metrics,
                self.live,
                self.ready,
                self.health,
                self._token,
                self._rates,
                self._lifespan,
                self._catalog,
            )
        )

    def end_streams(self) -> None:
        """End the answers that have no end of their own; they would keep the server from stopping."""
        self._changes.end()

    def start(self) -> None:
        """Begin to read from Kafka."""
        self._monitor.start()
        self._disks.start()
        self._supervisor.start()
        self._worker.start()
        self._budget_worker.start()

    def stop(self) -> None:
        """Finish and commit the batches that have been read."""
        started = time.monotonic()
        self._monitor.stop()
        self._disks.stop()
        self._worker.stop()
        self._budget_worker.stop()
        in_time = self._supervisor.stop(self._stop_seconds)
        log.info("stopped %s after %.1f s", "in order" if in_time else "in haste", time.monotonic() - started)

    def live(self) -> HealthAnswer:
        """Whether a restart would help."""
        return _answer(self._condition().dead_reasons)

    def ready(self) -> HealthAnswer:
        """Whether the processor does its work."""
        return _answer(self._condition().unready_reasons)

    def health(self) -> FullHealthAnswer:
        """The same, with the state of each part."""
        state = self._state
        silence_seconds = seconds_since_poll(state)
        # A full disk is no reason to send nobody here: answers still come.
        answer = _answer([*self._condition().unready_reasons, *self._disks.reasons])
        return FullHealthAnswer(
            **answer.model_dump(),
            warnings=self._disks.warnings,
            disks=[
                DiskHealth(**disk._asdict(), used_share=round(disk.used_share, 3))
                for disk in self._disks.known
            ],
            version=VERSION,
            consumer=ConsumerHealth(
                phase=state.phase.value,
                seconds_since_poll=round(silence_seconds, 1) if silence_seconds is not None else None,
                assigned_partitions=state.assigned_partitions,
                lag_events=sum(events for _, _, events in state.lags),
                paused=state.paused_since is not None,
            ),
            kafka=self._kafka.problem,
            mongodb=self._mongodb.problem,
            dead_letter_guard=state.reason if state.guard_tripped else None,
        )

    def _condition(self) -> Condition:
        return judge(self._state, self._supervisor.alive, self._monitor.probes)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.start()
        yield
        await run_in_threadpool(self.stop)


class KafkaAbsentError(ConnectionError):
    """Kafka does not answer."""


class MissingTopicError(LookupError):
    """Kafka answers, but a topic that the processor reads does not exist."""


def kafka_probe(client: AdminClient, errors: ErrorLog, topics: Sequence[str]) -> Probe:
    """Whether Kafka answers and has the topics."""

    def ask() -> None:
        try:
            known = client.list_topics(timeout=_METADATA_SECONDS).topics
        except KafkaException as error:
            # The exception gives no reason; the callback, which poll() calls, gets one.
            client.poll(0)
            raise KafkaAbsentError(errors.cause or error.args[0].str()) from error
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise MissingTopicError(
                f"topic {' and '.join(missing)} is not there for this user: run the playbook's kafka role"
            )

    return Probe("kafka", ask)


def mongodb_probe(reads: Reads) -> Probe:
    """Whether MongoDB answers."""
    return Probe("mongodb", reads.ping)


def _answer(reasons: Sequence[str]) -> HealthAnswer:
    return HealthAnswer(status="unhealthy" if reasons else "ok", reasons=list(reasons))
