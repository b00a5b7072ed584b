"""Sends dead letters to their topics again: a batch is sent, acknowledged, and only then noted as done."""

import sys
from collections.abc import Collection, Iterable

import msgspec
from confluent_kafka import Message
from gpu_token_contracts import dlq_topic

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.letter_reader import LetterReader, letter
from gpu_token_producers.progress import ProgressPrinter
from gpu_token_producers.run import KafkaSettings
from gpu_token_producers.sender import Sender
from gpu_token_producers.stop import StopRequest

_STOPPED = "Stopped early: run it again to go on."


class ResendCounts(msgspec.Struct):
    """What there was, and what became of it.

    `letters` are those of the chosen reasons. `value_omitted` of them have no value to send, since
    it was too large for the dead-letter topic; it still stands at its source. `foreign` are records
    of the dead-letter topics that no processor wrote.
    """

    letters: int = 0
    by_reason: dict[str, int] = msgspec.field(default_factory=dict)
    resent: int = 0
    value_omitted: int = 0
    foreign: int = 0


class Resend:
    """One run. When it is stopped or fails, the next run for the same reasons goes on where it was."""

    def __init__(self, kafka: KafkaSettings, reasons: Collection[str], dry_run: bool) -> None:
        self._kafka = kafka
        self._reasons = frozenset(reasons)
        self._dry_run = dry_run
        self._counts = ResendCounts()
        self._stop = StopRequest()
        self._stop.listen()
        self._sender = Sender(
            kafka.bootstrap,
            self._stop,
            security=kafka.security,
            observers=[ProgressPrinter("dead letters resent")],
        )

    def run(self) -> ResendCounts:
        """Raises ProducerError if Kafka has not acknowledged all that was sent."""
        topics = (self._kafka.topic_metric, self._kafka.topic_token)
        dlq_topics = [dlq_topic(topic) for topic in topics]
        self._sender.wait_for_topics([*topics, *dlq_topics], self._kafka.wait_seconds)
        reader = LetterReader(self._kafka, self._reasons)
        try:
            for batch in reader.batches(dlq_topics):
                if self._stop.requested:
                    break
                self._resend(batch)
                if not self._dry_run:
                    self._settle()
                    reader.commit()
        finally:
            reader.close()
        if self._stop.requested:
            print(_STOPPED, file=sys.stderr)
        return self._counts

    def _resend(self, batch: Iterable[Message]) -> None:
        counts = self._counts
        for message in batch:
            found = letter(message)
            if found is None:
                counts.foreign += 1
                continue
            if self._reasons and found.reason not in self._reasons:
                continue
            counts.letters += 1
            counts.by_reason[found.reason] = counts.by_reason.get(found.reason, 0) + 1
            if found.omitted:
                counts.value_omitted += 1
            elif not self._dry_run and not self._sender.send(
                found.topic, found.key, found.value, found.headers
            ):
                raise ProducerError(_STOPPED)

    def _settle(self) -> None:
        unflushed = self._sender.drain(self._kafka.finish_seconds, self._kafka.stop_seconds)
        totals = self._sender.totals()
        self._counts.resent = totals.delivered
        if totals.failed or unflushed:
            raise ProducerError(
                f"Of {totals.sent} dead letters {totals.failed} failed and {unflushed} had no delivery "
                f"report: run it again to go on. {self._sender.cause}".rstrip()
            )
