"""Refused events go to `<topic>.dlq`, and a note of each to the store."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Producer
from gpu_token_contracts import (
    DlqHeader,
    Origin,
    dlq_topic,
    origin_headers,
    own_headers,
    position,
    resent_from,
)

from gpu_token_processor.documents import Document
from gpu_token_processor.pipeline.batch import Record, Refusal
from gpu_token_processor.pipeline.kafka import ends_client
from gpu_token_processor.pipeline.sent_letters import SearchFailed, SentLetters
from gpu_token_processor.store.collections import DEAD_LETTERS
from gpu_token_processor.store.contract import EventStore

_DELIVERY_SECONDS = 30.0
_MAX_MESSAGE_BYTES = 16_777_216

Headers = list[tuple[str, str | bytes | None]]


class DeadLettersUndelivered(Exception):
    """Kafka has not acknowledged every dead letter; sending them again may work."""


class DeadLetterSink(Protocol):
    """Where refused events go."""

    def send(self, refusals: Sequence[Refusal]) -> None:
        """Send the letters and wait until all are acknowledged; raises DeadLettersUndelivered otherwise."""
        ...

    def sent_since(self, moment: datetime, topics: Collection[str]) -> set[str]:
        """Source positions of the letters sent since; raises DeadLettersUndelivered if that is not known."""
        ...


class DeadLetterTopics:
    """A DeadLetterSink on Kafka: original key, value and headers, and why and where from."""

    def __init__(self, make_producer: Callable[[], Producer], sent_letters: SentLetters) -> None:
        self._make_producer = make_producer
        self._producer = make_producer()
        self._sent_letters = sent_letters

    @staticmethod
    def config(connection: Mapping[str, object]) -> dict[str, object]:
        """What the producer needs for every dead letter to arrive exactly as it was."""
        return {
            **connection,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            # A value that its topic accepted only compressed must fit into the dead-letter topic too.
            "compression.type": "lz4",
            "message.timeout.ms": int(_DELIVERY_SECONDS * 1000),
            "message.max.bytes": _MAX_MESSAGE_BYTES,
        }

    def send(self, refusals: Sequence[Refusal]) -> None:
        """See DeadLetterSink."""
        too_large: list[Refusal] = []
        failures: list[str] = []
        for refusal in refusals:
            self._produce(refusal, _headers(refusal), refusal.record.value(), too_large, failures)
        self._settle(failures)
        if too_large:
            omitted, too_large = too_large, []
            for refusal in omitted:
                size = len(refusal.record.value() or b"")
                headers = [*_headers(refusal), (DlqHeader.VALUE_OMITTED_BYTES.value, str(size))]
                self._produce(refusal, headers, None, too_large, failures)
            self._settle(failures)
            if too_large:
                raise DeadLettersUndelivered("A dead letter is too large even without its value.")

    def sent_since(self, moment: datetime, topics: Collection[str]) -> set[str]:
        """See DeadLetterSink."""
        try:
            return self._sent_letters.since(moment, topics)
        except SearchFailed as error:
            raise DeadLettersUndelivered(f"What was sent before cannot be read: {error}.") from error

    def _produce(
        self,
        refusal: Refusal,
        headers: Headers,
        value: bytes | None,
        too_large: list[Refusal],
        failures: list[str],
    ) -> None:
        def delivered(error: KafkaError | None, _: Record) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(refusal)
            else:
                failures.append(error.str())

        topic = dlq_topic(str(refusal.record.topic()))
        while True:
            try:
                self._producer.produce(
                    topic, value, refusal.record.key(), headers=headers, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                self._renew_if_fatal(error.args[0])
                delivered(error.args[0], refusal.record)
                return
            else:
                return

    def _settle(self, failures: list[str]) -> None:
        try:
            waiting = self._producer.flush(_DELIVERY_SECONDS + 1)
        except KafkaException as error:
            self._renew_if_fatal(error.args[0])
            failures.append(error.args[0].str())
        else:
            if waiting:
                failures.append(f"{waiting} not acknowledged in {_DELIVERY_SECONDS:g} s")
        if failures:
            raise DeadLettersUndelivered(f"Dead letters not delivered: {failures[0]}.")

    def _renew_if_fatal(self, error: KafkaError) -> None:
        """One that was refused for good, as before its user had rights, stays so; the next need not."""
        if ends_client(error):
            self._producer = self._make_producer()


def _headers(refusal: Refusal) -> Headers:
    return [
        *own_headers(_record_headers(refusal.record)),
        (DlqHeader.REASON.value, refusal.reason),
        (DlqHeader.MESSAGE.value, refusal.message),
        *origin_headers(_origin(refusal.record)),
    ]


def _record_headers(record: Record) -> list[tuple[str, bytes | None]]:
    # The client's stubs also know what a producer may be given.
    return list(record.headers() or [])  # type: ignore[arg-type]


def _origin(record: Record) -> Origin:
    """The event's first position: a resent event that is refused again is the same dead letter."""
    topic = str(record.topic())
    return resent_from(topic, _record_headers(record)) or Origin(
        topic, record.partition() or 0, record.offset() or 0
    )


def dead_letter(
    sink: DeadLetterSink,
    store: EventStore,
    refusals: Sequence[Refusal],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Refusal]:
    """Send those that were not sent before, and return them.

    Each is noted before it is sent, and its note marked once Kafka has acknowledged it. What a crash
    left unmarked is looked for in the topic, so that no letter is missing and none is there twice.
    Raises DeadLettersUndelivered or StoreUnavailable.
    """
    notes = {_id(refusal): _note(refusal, now()) for refusal in refusals}
    known = {
        key: note for key, note in store.find(DEAD_LETTERS, list(notes)).items() if _same(note, notes[key])
    }
    # Earlier versions wrote notes after sending, without a mark.
    doubtful = {key: note for key, note in known.items() if not note.get("sent", True)}
    sent = known.keys() - doubtful.keys()
    unmarked = notes.keys() - sent
    if not unmarked:
        return []
    if new := notes.keys() - known.keys():
        store.put(DEAD_LETTERS, [notes[key] for key in sorted(new)])
    if doubtful:
        topics = {dlq_topic(note["topic"]) for note in doubtful.values()}
        sent |= sink.sent_since(min(note["ts"] for note in doubtful.values()), topics)
    fresh = [refusal for refusal in refusals if _id(refusal) in unmarked and _id(refusal) not in sent]
    sink.send(fresh)
    store.put(DEAD_LETTERS, [{**notes[key], "sent": True} for key in sorted(unmarked)])
    return fresh


def _id(refusal: Refusal) -> str:
    return position(*_origin(refusal.record))


def _note(refusal: Refusal, now: datetime) -> Document:
    origin = _origin(refusal.record)
    return {
        "_id": position(*origin),
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "reason": refusal.reason,
        "message": refusal.message,
        "record_ts_ms": refusal.record.timestamp()[1],
        "ts": now,
        "sent": False,
    }


def _same(known: Document, note: Document) -> bool:
    """Whether a note tells of this very record, not of one resent earlier or of a topic made again since."""
    return bool(known["record_ts_ms"] == note["record_ts_ms"])
