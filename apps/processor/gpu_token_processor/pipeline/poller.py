"""Reads from Kafka and commits. No other module uses the consumer."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.batch import Partition, Record
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.kafka import ends_client
from gpu_token_processor.pipeline.offsets import Offsets
from gpu_token_processor.pipeline.state import ConsumerState, Phase
from gpu_token_processor.pipeline.writer import Writer

log = logging.getLogger(__name__)

# How long the store may take before partitions are paused. Pausing discards prefetched records.
_PATIENCE_SECONDS = 1.0
_PAUSED_POLL_SECONDS = 0.2
_COMMIT_INTERVAL_SECONDS = 0.5
_LAG_INTERVAL_SECONDS = 2.0
# How long a revoked partition, or a failed consumer, waits for the batches that are being stored.
_DRAIN_SECONDS = 5.0
_COMMITTED_LOOKUP_SECONDS = 5.0


class Poller:
    """One consumer from subscribe to close. Everything runs in the thread that calls `run`."""

    def __init__(
        self,
        config: Mapping[str, object],
        topics: Sequence[str],
        decoder: Decoder,
        writer: Writer,
        state: ConsumerState,
        metrics: Metrics,
        batch_events: int,
        linger_seconds: float,
        storing_stop_seconds: float,
    ) -> None:
        self._consumer = Consumer({**config, "on_commit": self._committed})
        self._topics = list(topics)
        self._decoder = decoder
        self._writer = writer
        self._state = state
        self._metrics = metrics
        self._batch_events = batch_events
        self._linger_seconds = linger_seconds
        self._storing_stop_seconds = storing_stop_seconds
        self._offsets = Offsets()
        self._paused = False
        # Records that arrived although everything was paused.
        self._early: list[Record] = []
        self._next_commit = 0.0
        self._committing = False
        self._next_lag = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; raises what ended it otherwise."""
        self._consumer.subscribe(
            self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        try:
            while not stop.is_set():
                self._turn()
                self._state.phase = Phase.RUNNING
                self._state.reason = None
        finally:
            self._leave(self._storing_stop_seconds if stop.is_set() else _DRAIN_SECONDS)

    def _turn(self) -> None:
        self._take_safe()
        self._writer.raise_failure()
        self._commit_when_due()
        self._measure_lag_when_due()
        if self._writer.wait_for_room(0.0 if self._paused else _PATIENCE_SECONDS):
            self._resume()
            self._read()
        else:
            self._hold()
        self._state.polled()
        self._report_writer()

    def _read(self) -> None:
        records = self._early + self._consumer.consume(self._batch_events, self._linger_seconds)
        self._early = []
        if records:
            self._submit(records)

    def _submit(self, records: Iterable[Record]) -> None:
        batch = self._decoder.decode(self._without_errors(records))
        if not batch.consumed:
            return
        for topic, count in batch.consumed.items():
            self._metrics.consumed.labels(topic).inc(count)
        self._metrics.batch_events.observe(batch.events)
        self._writer.submit(batch)

    def _without_errors(self, records: Iterable[Record]) -> list[Record]:
        good = []
        for record in records:
            if (error := record.error()) is None:
                good.append(record)
            elif ends_client(error):
                raise KafkaException(error)
            else:
                log.warning("Kafka: %s", error.str())
        return good

    # Pausing: the store is slow, but the group must see this member poll.

    def _hold(self) -> None:
        if not self._paused:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
            self._state.paused_since = time.monotonic()
            log.info("the store is slow: partitions are paused")
        record = self._consumer.poll(_PAUSED_POLL_SECONDS)
        if record is not None:
            self._early.append(record)

    def _resume(self) -> None:
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False
            self._state.paused_since = None
            log.info("partitions are read again")

    # Committing.

    def _take_safe(self) -> None:
        for batch in self._writer.take_safe():
            self._offsets.stored(batch.next_offsets)

    def _commit_when_due(self) -> None:
        now = time.monotonic()
        offsets = self._offsets.to_commit()
        # One at a time. Commits that pile up while the broker is away may arrive after the session has
        # ended, and Kafka excludes (fences) for good a static member that commits without a session.
        if offsets and now >= self._next_commit and not self._committing:
            self._next_commit = now + _COMMIT_INTERVAL_SECONDS
            self._committing = True
            # Asynchronous: waiting for a broker that is down would stop the polling.
            self._consumer.commit(offsets=_with_offsets(offsets), asynchronous=True)

    def _commit_now(self, offsets: dict[Partition, int]) -> None:
        """Commit and wait. If that fails, the next consumer reads the events again and finds them stored."""
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=_with_offsets(offsets), asynchronous=False)
        except KafkaException as error:
            log.warning("offsets not committed: %s", error)

    def _committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Kafka's answer to a commit. What failed is committed again later."""
        self._committing = False
        if error is not None:
            log.warning("offsets not committed: %s", error.str())
        self._offsets.committed(
            {Partition(one.topic, one.partition): one.offset for one in offsets if not (error or one.error)}
        )

    # Rebalancing. These run inside consume, poll and close.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._offsets.assign(_keys(partitions))
        consumer.incremental_assign(partitions)
        # The client keeps a partition paused even when the partition is assigned again.
        (consumer.pause if self._paused else consumer.resume)(partitions)
        self._look_up_committed(partitions)
        self._report_assignment("assigned", partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._writer.wait_until_idle(_DRAIN_SECONDS)
        self._take_safe()
        keys = set(_keys(partitions))
        self._commit_now({key: offset for key, offset in self._offsets.to_commit().items() if key in keys})
        self._offsets.drop(keys)
        consumer.incremental_unassign(partitions)
        self._report_assignment("revoked", partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._offsets.drop(_keys(partitions))
        consumer.incremental_unassign(partitions)
        self._report_assignment("lost", partitions)

    def _look_up_committed(self, partitions: list[TopicPartition]) -> None:
        """Read the committed offsets, so that the lag is known before the first record arrives."""
        try:
            found = self._consumer.committed(partitions, timeout=_COMMITTED_LOOKUP_SECONDS)
        except KafkaException as error:
            log.warning("committed offsets not known: %s", error)
            return
        self._offsets.committed(
            {Partition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}
        )

    def _report_assignment(self, what: str, partitions: list[TopicPartition]) -> None:
        count = len(self._offsets.partitions)
        self._state.assigned_partitions = count
        self._metrics.assigned_partitions.set(count)
        names = ", ".join(f"{topic} [{partition}]" for topic, partition in sorted(_keys(partitions)))
        log.info("%s: %s; now %d partitions", what, names or "nothing", count)

    def _leave(self, storing_seconds: float) -> None:
        """Commit what is safe and tell the group; what is not safe will be read again."""
        self._writer.wait_until_idle(storing_seconds)
        self._writer.stop()
        self._consumer.close()
        self._state.assigned_partitions = 0
        self._state.lags = ()
        self._metrics.assigned_partitions.set(0)

    # What other threads read.

    def _measure_lag_when_due(self) -> None:
        now = time.monotonic()
        if now < self._next_lag:
            return
        self._next_lag = now + _LAG_INTERVAL_SECONDS
        self._state.lags = tuple(
            (partition.topic, partition.partition, lag)
            for partition in self._offsets.partitions
            if (lag := self._lag(partition)) is not None
        )

    def _lag(self, partition: Partition) -> int | None:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        if high < 0:
            return None
        position = self._offsets.position(partition)
        return max(0, high - (position if position is not None else max(low, 0)))

    def _report_writer(self) -> None:
        self._state.write_failing_since = self._writer.retrier.failing_since
        self._state.write_failure = self._writer.retrier.failure


def _with_offsets(offsets: dict[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(*partition, offset) for partition, offset in offsets.items()]


def _keys(partitions: Iterable[TopicPartition]) -> list[Partition]:
    return [Partition(one.topic, one.partition) for one in partitions]
