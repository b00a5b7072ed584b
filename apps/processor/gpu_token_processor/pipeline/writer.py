"""Makes batches safe, one after the other, in its own thread.

A slow or absent store thus never keeps the consumer from polling, and the next batch is
decoded while the last is on its way to the store.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.batch import Batch, Refusal
from gpu_token_processor.pipeline.dead_letters import (
    DeadLetterSink,
    DeadLettersUndelivered,
    dead_letter,
)
from gpu_token_processor.pipeline.guard import DeadLetterGuard
from gpu_token_processor.pipeline.retry import Retrier, Stopped
from gpu_token_processor.pipeline.storing import store_writes
from gpu_token_processor.rollups.touched import touched_hours
from gpu_token_processor.store.collections import DEAD_LETTERS
from gpu_token_processor.store.contract import EventStore, StoreUnavailable

log = logging.getLogger(__name__)

# One batch is being stored, one waits.
_MAX_IN_FLIGHT = 2


class Writer:
    """Takes batches in order, and returns them in the same order once they are safe."""

    def __init__(
        self,
        store: EventStore,
        sink: DeadLetterSink,
        guard: DeadLetterGuard,
        metrics: Metrics,
        gap: timedelta,
    ) -> None:
        self._store = store
        self._gap = gap
        self._sink = sink
        self._guard = guard
        self._metrics = metrics
        self._stop = threading.Event()
        self.retrier = Retrier(self._stop, (StoreUnavailable, DeadLettersUndelivered), self._count_failure)
        self._changed = threading.Condition()
        self._waiting: deque[Batch] = deque()
        self._safe: deque[Batch] = deque()
        self._in_flight = 0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def stop(self) -> None:
        """Give up what is not safe yet; it will be read again."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def submit(self, batch: Batch) -> None:
        """Take a batch; call only when there is room."""
        with self._changed:
            self._waiting.append(batch)
            self._in_flight += 1
            self._changed.notify_all()

    def wait_for_room(self, timeout_seconds: float) -> bool:
        """Whether a batch can be submitted, now or within the timeout."""
        return self._wait(lambda: self._in_flight < _MAX_IN_FLIGHT, timeout_seconds)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Whether all that was submitted is safe, now or within the timeout."""
        return self._wait(lambda: self._in_flight == 0, timeout_seconds)

    def take_safe(self) -> list[Batch]:
        """Batches that have become safe since the last call."""
        with self._changed:
            safe = list(self._safe)
            self._safe.clear()
        return safe

    def raise_failure(self) -> None:
        """Raise the error that has ended the writer, if there is one."""
        if self._failure is not None:
            raise self._failure

    def _wait(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        def settled() -> bool:
            return condition() or self._failure is not None or self._stop.is_set()

        with self._changed:
            self._changed.wait_for(settled, timeout_seconds)
            return condition()

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._make_safe(batch)
                with self._changed:
                    self._in_flight -= 1
                    self._safe.append(batch)
                    self._changed.notify_all()
        except Stopped:
            pass
        except Exception as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _next(self) -> Batch | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
            return None if self._stop.is_set() else self._waiting.popleft()

    def _make_safe(self, batch: Batch) -> None:
        started = time.monotonic()
        for collection, writes in batch.writes.items():
            if writes.documents:
                stored = self.retrier.call(partial(store_writes, self._store, collection, writes))
                batch.refusals += stored.refusals
                self._metrics.stored.labels(collection).inc(stored.stored)
                self._metrics.duplicates.labels(collection).inc(stored.duplicates)
                self._metrics.conflicting.labels(collection).inc(stored.conflicts)
        # Duplicates too: they may have come before, and the processor has been killed before it marked them.
        self.retrier.call(partial(self._store.mark_hours, self._touched(batch)))
        self._observe_delays(batch)
        self._guard.check(batch)
        if batch.resent:
            self.retrier.call(partial(self._store.delete, DEAD_LETTERS, batch.resent))
        if batch.refusals:
            self._report(self.retrier.call(partial(dead_letter, self._sink, self._store, batch.refusals)))
        self._metrics.write_seconds.observe(time.monotonic() - started)

    def _touched(self, batch: Batch) -> set[int]:
        """The clock hours that its events lie in."""
        return {
            hour
            for collection, writes in batch.writes.items()
            for hour in touched_hours(collection, writes.documents, self._gap)
        }

    def _report(self, sent: list[Refusal]) -> None:
        first_of: dict[tuple[str, str], Refusal] = {}
        counts: Counter[tuple[str, str]] = Counter()
        for refusal in sent:
            key = (str(refusal.record.topic()), refusal.reason)
            first_of.setdefault(key, refusal)
            counts[key] += 1
        for (topic, reason), count in counts.items():
            self._metrics.dead_lettered.labels(topic, reason).inc(count)
            first = first_of[topic, reason]
            log.warning(
                "dead-lettered %d of %s as %s; the first, at %s:%s, because: %s",
                count,
                topic,
                reason,
                first.record.partition(),
                first.record.offset(),
                first.message,
            )

    def _observe_delays(self, batch: Batch) -> None:
        now_ms = time.time() * 1000
        self._metrics.store_delay.observe_all(
            [
                (now_ms - record.timestamp()[1]) / 1000
                for writes in batch.writes.values()
                for record in writes.records
            ]
        )

    def _count_failure(self, error: Exception) -> None:
        kind = error.kind if isinstance(error, StoreUnavailable) else "dead_letters"
        self._metrics.write_failures.labels(kind).inc()
