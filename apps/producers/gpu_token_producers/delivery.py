"""Events handed over to Kafka, and the word that Kafka has them."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from confluent_kafka import KafkaException
from gpu_token_contracts import GpuMetric, TokenUsage, encode, metric_key, usage_key

from gpu_token_producers.sender import Sender


class DeliveryError(Exception):
    """Kafka has refused one of the events for good."""


class Busy(Exception):
    """The buffer is full: Kafka takes less than arrives. Try again later."""


class Delivery(Protocol):
    """May be used from any thread."""

    def submit(self, events: Sequence[GpuMetric | TokenUsage]) -> "Future[None]":
        """Done when all in-sync replicas have all events; fails with DeliveryError.

        Raises Busy at once where the buffer is full. Some of the events may then be on their way:
        submit them all again, under the same ids.
        """


class KafkaDelivery:
    """Through one Sender, whose own thread has to pause (and so to poll) all the time."""

    def __init__(self, sender: Sender, topic_metric: str, topic_token: str) -> None:
        self._sender = sender
        self._topic_metric = topic_metric
        self._topic_token = topic_token
        self._lock = threading.Lock()

    def submit(self, events: Sequence[GpuMetric | TokenUsage]) -> "Future[None]":
        """As Delivery says."""
        batch = _Batch(len(events))
        with self._lock:
            for event in events:
                if isinstance(event, GpuMetric):
                    topic, key = self._topic_metric, metric_key(event)
                else:
                    topic, key = self._topic_token, usage_key(event)
                try:
                    if not self._sender.offer(topic, key, encode(event), batch.one_done):
                        raise Busy
                except KafkaException as error:
                    # Of one event, or of this producer for good: then its own thread says so.
                    batch.one_done(str(error))
        return batch.future


class _Batch:
    """Counts the reports of some events. They come in the sender's thread, or in the one that submits."""

    def __init__(self, events: int) -> None:
        self.future: Future[None] = Future()
        # Whoever waits for it may give up, but cannot take it back.
        self.future.set_running_or_notify_cancel()
        self._lock = threading.Lock()
        self._left = events
        self._error: str | None = None
        if events == 0:
            self.future.set_result(None)

    def one_done(self, error: str | None) -> None:
        """Take one report."""
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            if self._left > 0:
                return
        if self._error:
            self.future.set_exception(DeliveryError(self._error))
        else:
            self.future.set_result(None)
