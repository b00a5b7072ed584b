"""Puts the data path together."""

import threading
from collections.abc import Callable
from datetime import timedelta

from confluent_kafka import KafkaError
from gpu_token_contracts import topic_registry

from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.dead_letters import DeadLetterSink
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.guard import DeadLetterGuard
from gpu_token_processor.pipeline.kafka import consumer_config
from gpu_token_processor.pipeline.poller import Poller
from gpu_token_processor.pipeline.state import ConsumerState
from gpu_token_processor.pipeline.writer import Writer
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.contract import EventStore


class DataPath:
    """Each run makes a new consumer, with nothing left over from the last one."""

    def __init__(
        self,
        settings: Settings,
        store: EventStore,
        sink: DeadLetterSink,
        state: ConsumerState,
        metrics: Metrics,
        on_error: Callable[[KafkaError], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._sink = sink
        self._state = state
        self._metrics = metrics
        self._on_error = on_error
        self._topics = topic_registry(settings.topic_metric, settings.topic_token)

    def run(self, stop: threading.Event) -> None:
        """Read, store and commit until `stop` is set; raises what ended it otherwise."""
        settings = self._settings
        guard = DeadLetterGuard(
            self._topics, settings.dlq_max_consecutive, settings.dlq_max_share, settings.dlq_window_events
        )
        gap = timedelta(seconds=settings.metric_gap_seconds)
        writer = Writer(self._store, self._sink, guard, self._metrics, gap)
        decoder = Decoder(
            self._topics,
            max_age=settings.retention.accepted_age,
            max_ahead=timedelta(seconds=settings.event_max_ahead_seconds),
        )
        poller = Poller(
            consumer_config(settings, self._on_error),
            tuple(self._topics),
            decoder,
            writer,
            self._state,
            self._metrics,
            settings.consume_batch_events,
            settings.consume_linger_seconds,
            settings.storing_stop_seconds,
        )
        writer.start()
        poller.run(stop)
