import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from gpu_token_processor.api.cache import Cache
from gpu_token_processor.condition import judge
from gpu_token_processor.metrics import BulkHistogram
from gpu_token_processor.monitor import Monitor, Probe
from gpu_token_processor.pipeline.retry import Retrier, Stopped
from gpu_token_processor.pipeline.state import ConsumerState, Phase


def answers() -> Probe:
    """A probe that has just been answered; an answer goes stale after a while."""
    probe = Probe("mongodb", lambda: None)
    probe.run()
    return probe


def running(**changes: object) -> ConsumerState:
    state = ConsumerState(phase=Phase.RUNNING, last_poll=time.monotonic())
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def test_all_well() -> None:
    condition = judge(running(), True, [answers()])
    assert (condition.dead_reasons, condition.unready_reasons) == ((), ())


def test_a_thread_that_ended_is_dead() -> None:
    assert judge(running(), False, [answers()]).dead_reasons == ("the consumer's thread has ended",)


def test_a_consumer_that_does_not_poll_is_dead() -> None:
    condition = judge(running(last_poll=time.monotonic() - 61), True, [answers()])
    assert (
        condition.dead_reasons == condition.unready_reasons == ("the consumer has not polled Kafka for 61 s",)
    )


def test_a_tripped_guard_is_unready_yet_a_restart_would_not_help() -> None:
    condition = judge(running(phase=Phase.STOPPED, reason="too many"), False, [answers()])
    assert (condition.dead_reasons, condition.unready_reasons) == ((), ("consumer is stopped: too many",))


def test_before_the_first_poll() -> None:
    condition = judge(ConsumerState(), True, [answers()])
    assert condition.unready_reasons == ("consumer is starting: it has not polled Kafka yet",)


@pytest.mark.parametrize(("seconds", "well"), [(5, True), (20, False)])
def test_writes_may_fail_for_a_moment(seconds: float, well: bool) -> None:
    state = running(write_failing_since=time.monotonic() - seconds, write_failure="no server")
    assert (not judge(state, True, [answers()]).unready_reasons) is well


def test_a_probe_tells_why() -> None:
    failures: list[Exception] = [OSError("refused")]

    def ask() -> None:
        if failures:
            raise failures[0]

    probe = Probe("kafka", ask)
    assert probe.problem == "kafka: not asked yet"
    probe.run()
    assert probe.problem == "kafka: OSError: refused"
    failures.clear()
    probe.run()
    assert probe.problem is None
    probe.last_success = time.monotonic() - 16
    assert probe.problem == "kafka: no answer for 15 s"


def test_the_log_says_each_kind_of_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [OSError("1 ms"), OSError("2 ms"), ValueError("login"), ValueError("login")]

    def ask() -> None:
        raise failures.pop(0)

    probe = Probe("mongodb", ask)
    while failures:
        probe.run()
    assert [record.getMessage() for record in caplog.records] == [
        "mongodb does not answer: OSError: 1 ms",
        "mongodb does not answer: ValueError: login",
    ]


def test_the_monitor_asks_by_itself() -> None:
    asked = threading.Event()
    monitor = Monitor(Probe("x", asked.set))
    monitor.start()
    assert asked.wait(5)
    monitor.stop()


def test_a_retrier_tries_until_it_works() -> None:
    failures = [OSError("1"), OSError("2")]
    seen: list[Exception] = []

    def work() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    retrier = Retrier(threading.Event(), (OSError,), seen.append, first_wait_seconds=0.001)
    assert retrier.call(work) == "done"
    assert [str(error) for error in seen] == ["1", "2"]
    assert (retrier.failing_since, retrier.failure) == (None, None)


def test_a_retrier_ends_when_told_to() -> None:
    stop = threading.Event()

    def work() -> None:
        stop.set()
        raise OSError("gone")

    with pytest.raises(Stopped):
        Retrier(stop, (OSError,)).call(work)


def test_a_retrier_does_not_hide_other_errors() -> None:
    def work() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        Retrier(threading.Event(), (OSError,)).call(work)


def answer_of(cache: Cache, key: str | int, compute: Callable[[], Any]) -> Any:
    async def computed() -> Any:
        return compute()

    return asyncio.run(cache.get(key, computed))


def test_a_cache_computes_once_in_its_time() -> None:
    clock = [0.0]
    cache = Cache(1.0, lambda: clock[0])
    numbers = iter(range(10))
    assert [answer_of(cache, "key", lambda: next(numbers)) for _ in range(3)] == [0, 0, 0]
    assert answer_of(cache, "other", lambda: next(numbers)) == 1
    clock[0] = 1.0
    assert answer_of(cache, "key", lambda: next(numbers)) == 2


def test_a_cache_keeps_what_took_long_for_as_long_again() -> None:
    clock = [0.0]
    cache = Cache(1.0, lambda: clock[0])

    def slow() -> float:
        clock[0] += 7
        return clock[0]

    assert answer_of(cache, "key", slow) == 7
    clock[0] = 13.9
    assert answer_of(cache, "key", slow) == 7
    clock[0] = 14.0
    assert answer_of(cache, "key", slow) == 21


def test_a_cache_keeps_no_errors_and_stays_small() -> None:
    cache = Cache(1.0, lambda: 0.0)
    with pytest.raises(ZeroDivisionError):
        answer_of(cache, "key", lambda: 1 // 0)
    assert answer_of(cache, "key", lambda: 5) == 5
    for key in range(1000):
        answer_of(cache, key, lambda: 0)
    assert len(cache._entries) <= 256


def test_who_asks_the_same_meanwhile_waits_for_the_one_answer() -> None:
    computed = []

    async def ask() -> None:
        cache = Cache(1.0)

        async def slow() -> int:
            computed.append(1)
            await asyncio.sleep(0.05)
            return 7

        first = asyncio.ensure_future(cache.get("key", slow))
        others = [asyncio.ensure_future(cache.get("key", slow)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [7, 7, 7]

    asyncio.run(ask())
    assert computed == [1]


def test_many_observations_at_once() -> None:
    histogram = BulkHistogram("delay", "d", (1, 5))
    histogram.observe_all([7.0, 1.0, 0.5])
    histogram.observe_all([5.0])
    (family,) = histogram.collect()
    values = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    assert values == {"1": 2, "5": 3, "+Inf": 4, "delay_count": 4, "delay_sum": 13.5}
