"""After a kill at any step: sent = stored + dead-lettered, each once."""

from collections.abc import Sequence
from datetime import timedelta

from gpu_token_processor.documents import Document
from gpu_token_processor.pipeline.batch import Partition, Record, Refusal
from gpu_token_processor.pipeline.dead_letters import dead_letter
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.offsets import Offsets
from gpu_token_processor.pipeline.storing import store_writes
from gpu_token_processor.store.contract import InsertOutcome
from hypothesis import given
from hypothesis import strategies as st
from processor_fakes import NOW, TOPIC_TOKEN, TOPICS, FakeSink, FakeStore, record, usage


class Killed(Exception):
    """The process was killed."""


class Fate:
    """Kills at chosen steps; each effect is a step before which and after which it may strike."""

    def __init__(self, kills: set[int]) -> None:
        self._kills = kills
        self._step = 0

    def step(self) -> None:
        self._step += 1
        if self._step in self._kills:
            raise Killed


class MortalStore(FakeStore):
    """Keeps what it has stored when the processor dies, even in the middle of a write."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    def insert(self, collection: str, documents: Sequence[Document]) -> InsertOutcome:
        self._fate.step()
        middle = len(documents) // 2
        first = super().insert(collection, documents[:middle])
        self._fate.step()
        second = super().insert(collection, documents[middle:])
        self._fate.step()
        return InsertOutcome(
            first.stored + second.stored,
            first.duplicates + [middle + at for at in second.duplicates],
        )

    def put(self, collection: str, documents: Sequence[Document]) -> None:
        self._fate.step()
        super().put(collection, documents)
        self._fate.step()


class MortalSink(FakeSink):
    """Keeps what it has received when the processor dies."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    def send(self, refusals: Sequence[Refusal]) -> None:
        self._fate.step()
        super().send(refusals)
        self._fate.step()


class Kafka:
    """A log of partitions and what the group has committed."""

    def __init__(self, events: Sequence[bool], partitions: int) -> None:
        self.records: dict[Partition, list[Record]] = {
            Partition(TOPIC_TOKEN, number): [] for number in range(partitions)
        }
        for number, good in enumerate(events):
            partition = number % partitions
            log = self.records[Partition(TOPIC_TOKEN, partition)]
            event = usage(prompt_tokens=number) if good else b"poison %d" % number
            log.append(record(event, len(log), partition=partition))
        self.committed = dict.fromkeys(self.records, 0)

    def live(self, store: FakeStore, sink: FakeSink, fate: Fate, batch_events: int) -> None:
        """One life of a processor, from the committed offsets to the end of the log."""
        decoder = Decoder(TOPICS, timedelta(days=3650), timedelta(minutes=10), lambda: NOW)
        ledger = Offsets()
        ledger.assign(self.records)
        position = dict(self.committed)
        while True:
            batch = decoder.decode(
                [
                    one
                    for partition, log in self.records.items()
                    for one in log[position[partition] : position[partition] + batch_events]
                ]
            )
            if not batch.events:
                return
            position.update(batch.next_offsets)
            for collection, writes in batch.writes.items():
                if writes.documents:
                    batch.refusals += store_writes(store, collection, writes).refusals
            if batch.refusals:
                dead_letter(sink, store, batch.refusals, lambda: NOW)
            ledger.stored(batch.next_offsets)
            fate.step()
            self.committed.update(ledger.to_commit())
            fate.step()


@given(
    events=st.lists(st.booleans(), min_size=1, max_size=40),
    partitions=st.integers(1, 3),
    batch_events=st.integers(1, 10),
    kills=st.sets(st.integers(1, 60), max_size=8),
)
def test_sent_is_stored_plus_dead_lettered(
    events: list[bool], partitions: int, batch_events: int, kills: set[int]
) -> None:
    fate = Fate(kills)
    kafka, store, sink = Kafka(events, partitions), MortalStore(fate), MortalSink(fate)
    lives = 0
    while True:
        lives += 1
        try:
            kafka.live(store, sink, fate, batch_events)
        except Killed:
            continue
        break
    assert lives <= len(kills) + 1
    stored = sorted(event["prompt_tokens"] for event in store.collections.get("token_usage", {}).values())
    assert stored == [number for number, good in enumerate(events) if good]
    poison = {number for number, good in enumerate(events) if not good}
    assert len(store.collections.get("dead_letters", {})) == len(poison)
    letters = sorted(int((refusal.record.value() or b"").split()[1]) for refusal in sink.sent)
    assert letters == sorted(poison)
