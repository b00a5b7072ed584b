from datetime import timedelta

import pytest
from gpu_token_processor.pipeline.batch import Batch, Record, Refusal
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.guard import DeadLetterGuard, GuardTripped
from processor_fakes import NOW, TOPIC_METRIC, TOPICS, metric, record, usage


def batch(*records: Record) -> Batch:
    return Decoder(TOPICS, timedelta(days=3650), timedelta(minutes=10), lambda: NOW).decode(records)


def events(pattern: str, first_offset: int = 0) -> Batch:
    """'g' is a good usage event, 'b' a bad one."""
    return batch(
        *(
            record(usage() if kind == "g" else b"bad", offset)
            for offset, kind in enumerate(pattern, start=first_offset)
        )
    )


def test_refusals_in_a_row_trip_it_across_batches() -> None:
    guard = DeadLetterGuard(TOPICS, max_consecutive=3, max_share=1, window_events=1000)
    guard.check(events("gbb"))
    guard.check(events("bgbb", 3))
    with pytest.raises(GuardTripped, match=r"DLQ_MAX_CONSECUTIVE=3 events in a row of token\.usage\.v1"):
        guard.check(events("bbg", 7))


def test_share_counts_only_once_the_window_is_full() -> None:
    guard = DeadLetterGuard(TOPICS, max_consecutive=1000, max_share=0.5, window_events=10)
    guard.check(events("bbbb"))
    guard.check(events("gggggg", 4))
    guard.check(events("bbbb", 10))
    with pytest.raises(GuardTripped, match=r"60% of the latest 10 events of token\.usage\.v1"):
        guard.check(events("bb", 14))


def test_old_refusals_leave_the_window() -> None:
    guard = DeadLetterGuard(TOPICS, max_consecutive=1000, max_share=0.5, window_events=10)
    for round_number in range(20):
        guard.check(events("bggggggggg", 10 * round_number))


def test_another_topic_does_not_hide_it() -> None:
    guard = DeadLetterGuard(TOPICS, max_consecutive=2, max_share=1, window_events=1000)
    bad_metrics = [
        batch(record(usage(), offset), record(b"bad", offset, topic=TOPIC_METRIC)) for offset in range(3)
    ]
    guard.check(bad_metrics[0])
    guard.check(bad_metrics[1])
    with pytest.raises(GuardTripped, match=r"gpu\.metrics\.v1"):
        guard.check(bad_metrics[2])


@pytest.mark.parametrize("reason", ["conflict", "too_late"])
def test_sound_events_do_not_trip_it_nor_hide_what_does(reason: str) -> None:
    guard = DeadLetterGuard(TOPICS, max_consecutive=3, max_share=0.5, window_events=10)
    sound = Batch(refusals=[Refusal(record(usage(), at), reason, "why") for at in range(50)])
    guard.check(sound)
    guard.check(events("bbb", 50))
    guard.check(sound)
    with pytest.raises(GuardTripped):
        guard.check(events("b", 53))


def test_one_percent_poison_does_not_trip_it() -> None:
    guard = DeadLetterGuard(TOPICS, max_consecutive=1000, max_share=0.5, window_events=5000)
    for round_number in range(100):
        guard.check(events("g" * 50 + "b" + "g" * 49, 100 * round_number))
    guard.check(batch(record(metric(), topic=TOPIC_METRIC)))
