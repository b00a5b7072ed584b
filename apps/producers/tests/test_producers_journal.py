"""Each event is on disk before it is on its way: a crash at any point repeats events, and loses none."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gpu_token_contracts import GpuMetric, TokenUsage, decode_token_usage
from gpu_token_producers.delivery import Busy, DeliveryError, KafkaDelivery
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sender import Sender
from gpu_token_producers.sources import journal as journal_module
from gpu_token_producers.sources.counters import Look
from gpu_token_producers.sources.journal import SUFFIX, Journal
from gpu_token_producers.stop import StopRequest
from producers_kafka import MockKafka

TARGET = "vllm gpu-a:8000"


class FakeDelivery:
    """Takes what it is given, up to a limit; the test says when Kafka has it."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.taken: list[tuple[str, Future[None]]] = []

    def submit(self, events: Sequence[GpuMetric | TokenUsage]) -> "Future[None]":
        if len(self.taken) >= self.room:
            raise Busy
        future: Future[None] = Future()
        self.taken += [(str(event.event_id), future) for event in events]
        return future

    @property
    def ids(self) -> list[str]:
        return [event_id for event_id, _ in self.taken]

    def acknowledge(self) -> None:
        for _, future in self.taken:
            if not future.done():
                future.set_result(None)


def usage(number: int) -> TokenUsage:
    return TokenUsage(
        ts=datetime.fromtimestamp(1_800_000_000 + number, UTC),
        event_id=f"e{number}",
        model="m",
        prompt_tokens=number,
        completion_tokens=0,
    )


def at(number: int) -> Look:
    return Look(at_us=number, series=())


def test_events_are_sent_and_forgotten_when_kafka_has_them(tmp_path: Path) -> None:
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    journal.record([usage(1), usage(2)], last=at(1))
    assert delivery.ids == ["e1", "e2"]
    assert len(Journal(tmp_path, TARGET, delivery).state.pending) == 2
    delivery.acknowledge()
    journal.settle()
    assert Journal(tmp_path, TARGET, delivery).state.pending == ()


def test_after_a_restart_what_waits_is_sent_again_as_it_was(tmp_path: Path) -> None:
    Journal(tmp_path, TARGET, FakeDelivery()).record([usage(1), usage(2)], last=at(7), began=at(3))
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    assert (journal.last, journal.began) == (at(7), at(3))
    journal.resend()
    assert delivery.ids == ["e1", "e2"]
    journal.resend()
    assert delivery.ids == ["e1", "e2"]


def test_what_finds_no_room_waits_in_order(tmp_path: Path) -> None:
    delivery = FakeDelivery(room=2)
    journal = Journal(tmp_path, TARGET, delivery)
    journal.record([usage(number) for number in range(5)])
    assert delivery.ids == ["e0", "e1"]
    delivery.room = 1000
    journal.resend()
    assert delivery.ids == [f"e{number}" for number in range(5)]


def test_an_event_that_kafka_refuses_is_kept_and_sent_again(tmp_path: Path) -> None:
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    journal.record([usage(1)])
    delivery.taken[0][1].set_exception(DeliveryError("not authorized"))
    journal.resend()
    assert journal.refused == "not authorized"
    assert delivery.ids == ["e1", "e1"]
    delivery.acknowledge()
    journal.resend()
    assert journal.refused is None
    assert journal.state.pending == ()


def test_it_is_full_when_too_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_PENDING", 3)
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    journal.record([usage(1), usage(2)])
    assert not journal.full
    journal.record([usage(3)])
    assert journal.full
    delivery.acknowledge()
    journal.resend()
    assert not journal.full


def test_a_look_can_be_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, TARGET, FakeDelivery())
    journal.update([], past=at(1), past_began=at(0))
    journal.update([], past=None, past_began=None, began=at(0))
    state = Journal(tmp_path, TARGET, FakeDelivery()).state
    assert (state.past, state.past_began, state.began, state.last) == (None, None, at(0), None)


@pytest.mark.parametrize(
    "target", ["a" * 5000, "../../etc/passwd", "http://x/é?a=b c", ".", "status", "ü" * 300]
)
def test_any_text_may_be_a_target(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    Journal(folder, target, FakeDelivery()).record([], last=at(5))
    (file,) = folder.iterdir()
    assert file.name.endswith(SUFFIX)
    assert Journal(folder, target, FakeDelivery()).last == at(5)


def test_long_targets_that_end_differently_have_files_of_their_own(tmp_path: Path) -> None:
    for end in "ab":
        Journal(tmp_path, "x" * 400 + end, FakeDelivery()).record([], last=at(ord(end)))
    assert Journal(tmp_path, "x" * 400 + "a", FakeDelivery()).last == at(ord("a"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"target": 1}', b"\xff\xfe"])
def test_a_broken_file_is_one_sentence_and_mending_it_is_enough(tmp_path: Path, content: bytes) -> None:
    journal = Journal(tmp_path, TARGET, FakeDelivery())
    path = tmp_path / f"vllm%20gpu-a%3A8000{SUFFIX}"
    path.write_bytes(content)
    with pytest.raises(ProducerError, match="delete it to count from now on"):
        journal.record([], last=at(1))
    path.unlink()
    journal.record([], last=at(1))
    assert journal.last == at(1)


# The disk


def test_on_a_full_disk_all_is_as_before(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a disk without room: a write beyond it fails."""
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    journal.record([], last=at(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ProducerError, match=r"cannot be written \(File too large\)"):
            journal.record([usage(1)], last=at(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    # Nothing was sent that the disk does not know: the next look begins where this one did.
    assert journal.last == Journal(tmp_path, TARGET, delivery).last == at(1)
    journal.resend()
    assert delivery.ids == []
    journal.record([usage(2)], last=at(3))
    assert delivery.ids == ["e2"]
    assert len(list(tmp_path.iterdir())) == 1


# Crashes

STEPS = ["before the write", "in the write", "before the rename", "after the rename", "after the send"]
CRASHING = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_producers_journal import TARGET, FakeDelivery, at, usage
from gpu_token_producers.sources import journal as module
from gpu_token_producers.sources.journal import Journal
from gpu_token_producers import files

step, folder = sys.argv[1], Path(sys.argv[2])
delivery = FakeDelivery()
journal = Journal(folder, TARGET, delivery)
journal.record([usage(1)], last=at(1))
die = lambda *_, **__: os._exit(9)
write, rename, submit = module.write_atomically, Path.replace, delivery.submit
if step == "before the write":
    module.write_atomically = die
elif step == "in the write":
    files.os.fsync = die
elif step == "before the rename":
    files.Path.replace = die
elif step == "after the rename":
    def renamed(*args):
        rename(*args)
        die()
    files.Path.replace = renamed
else:
    def sent(events):
        submit(events)
        print("sent", flush=True)
        die()
    delivery.submit = sent
journal.record([usage(2)], last=at(2))
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_between_any_two_steps_loses_nothing(tmp_path: Path, step: str) -> None:
    code = CRASHING.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, step, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    journal.resend()
    kept = step in ("after the rename", "after the send")
    # Either all of the second step is there, or nothing of it, and then its interval is read again.
    assert journal.last == (at(2) if kept else at(1))
    assert delivery.ids == (["e1", "e2"] if kept else ["e1"])
    assert "sent" not in done.stdout or kept


def test_an_event_survives_byte_for_byte(tmp_path: Path) -> None:
    Journal(tmp_path, TARGET, FakeDelivery()).record([usage(3)])
    (pending,) = Journal(tmp_path, TARGET, FakeDelivery()).state.pending
    assert decode_token_usage(bytes(pending.event)) == usage(3)


def test_two_threads_may_write_different_looks(tmp_path: Path) -> None:
    """As when an engine is scraped while its past is read from Prometheus."""
    import threading

    journal = Journal(tmp_path, TARGET, FakeDelivery())

    def repeat(act: Callable[[int], Any]) -> threading.Thread:
        thread = threading.Thread(target=lambda: [act(number) for number in range(1, 51)])
        thread.start()
        return thread

    threads = [
        repeat(lambda number: journal.record([usage(number)], last=at(number))),
        repeat(lambda number: journal.update([usage(1000 + number)], past=at(number))),
    ]
    for thread in threads:
        thread.join()
    state = Journal(tmp_path, TARGET, FakeDelivery()).state
    assert (state.last, state.past, len(state.pending)) == (at(50), at(50), 100)
    assert [path.name for path in tmp_path.iterdir()] == [f"vllm%20gpu-a%3A8000{SUFFIX}"]


# Kafka


@pytest.fixture
def sender(kafka: MockKafka, topics: tuple[str, str]) -> Sender:
    made = Sender(kafka.address, StopRequest(), buffer_events=50)
    made.wait_for_topics(topics, 10)
    return made


def test_a_future_is_done_when_kafka_has_the_events(sender: Sender, topics: tuple[str, str]) -> None:
    future = KafkaDelivery(sender, *topics).submit([usage(1), usage(2)])
    assert sender.drain(10, 10) == 0
    assert future.result(0) is None
    assert KafkaDelivery(sender, *topics).submit([]).done()


def test_a_full_buffer_is_busy_and_counts_nothing_that_it_did_not_take(
    sender: Sender, topics: tuple[str, str]
) -> None:
    with pytest.raises(Busy):
        KafkaDelivery(sender, *topics).submit([usage(number) for number in range(60)])
    assert sender.totals().sent == 50
    assert sender.drain(10, 10) == 0
    assert sender.totals().delivered == 50


def test_an_event_that_kafkas_client_refuses_fails_alone(sender: Sender, topics: tuple[str, str]) -> None:
    large = TokenUsage(
        ts=usage(1).ts, event_id="x", model="m" * 17_000_000, prompt_tokens=1, completion_tokens=1
    )
    delivery = KafkaDelivery(sender, *topics)
    refused, taken = delivery.submit([large]), delivery.submit([usage(1)])
    assert sender.drain(10, 10) == 0
    assert isinstance(refused.exception(0), DeliveryError)
    assert taken.result(0) is None


def test_an_event_that_the_contract_refuses_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    first = Journal(tmp_path, TARGET, FakeDelivery(room=0))
    first.record([usage(1), msgspec.structs.replace(usage(2), tags={"$a": "b"}), usage(3)], last=at(7))
    delivery = FakeDelivery()
    journal = Journal(tmp_path, TARGET, delivery)
    journal.resend()
    assert delivery.ids == ["e1", "e3"]
    (notice,) = journal.take_notices()
    (kept,) = tmp_path.glob("*.refused.jsonl")
    assert notice.startswith(
        f"1 of its events cannot be sent and stand in {kept} now. Field tags has the key"
    )
    assert kept.read_bytes().count(b"\n") == 1
    assert b'"event_id":"e2"' in kept.read_bytes()
    journal.record([usage(4)], last=at(8))
    assert delivery.ids == ["e1", "e3", "e4"]
    assert journal.take_notices() == []
    again = Journal(tmp_path, TARGET, FakeDelivery())
    assert (again.last, len(again.state.pending)) == (at(8), 3)
