"""The collector among targets that behave as badly as they can: each is named once, and hinders no other."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import producers_targets as targets
import pytest
from producers_collect import Collector, sums, usages
from producers_kafka import MockKafka, mock_kafka
from producers_targets import Target, closed_port, says, vllm_text

from lab.ports import free_port
from testing.waiting import until

Run = Callable[..., Collector]


@pytest.fixture
def run(kafka: MockKafka, topics: tuple[str, str], tmp_path: Path) -> Iterator[Run]:
    """Starts a collector against the mock broker."""
    started: list[Collector] = []

    def start(*sources: dict[str, Any], broker: MockKafka = kafka, **options: Any) -> Collector:
        collector = Collector(tmp_path / "run", broker.address, topics, sources, **options)
        started.append(collector)
        collector.start()
        return collector

    yield start
    for collector in started:
        collector.kill()


def source(name: str, target: Target | str, **more: Any) -> dict[str, Any]:
    url = target if isinstance(target, str) else target.url
    return {"name": name, "type": "vllm", "target": url, "interval_seconds": 0.2, "timeout_seconds": 1} | more


class Growing:
    """A good engine: each answer shows ten prompt tokens more, and when it was asked."""

    def __init__(self) -> None:
        self.shown = 0
        self.grows = True
        self.asked_at: list[float] = []

    def settle(self) -> None:
        """Grow no more, and wait until all was read: a stop leaves unread what was asked for just before."""
        self.grows, asked = False, len(self.asked_at)
        until(lambda: len(self.asked_at) >= asked + 2, "the last of it is read")

    def __call__(self, connection: Any) -> None:
        self.shown += 10 if self.grows else 0
        self.asked_at.append(time.monotonic())
        says(vllm_text(self.shown, self.shown // 10))(connection)


# The answer, and a part of the sentence that names what is wrong with it.
HOSTILE: dict[str, tuple[targets.Answer, str]] = {
    "error": (says(b"oops", status="500 Internal Server Error"), "answers 500 Internal Server Error (oops)."),
    "silent": (targets.hangs, "did not answer within 1 seconds."),
    "half": (targets.hangs_in_the_body, "did not answer within 1 seconds."),
    "slow-head": (targets.trickles_the_head, "did not answer within 1 seconds."),
    "slow-body": (targets.trickles_the_body, "did not answer within 1 seconds."),
    "bomb": (targets.bomb(), "answers more than 32 MiB: give it less to export."),
    "html": (
        says(b"<!doctype html><html><body>Hello</body></html>", kind="text/html; charset=utf-8"),
        "answers text/html that is not in Prometheus' format: check the target's path.",
    ),
    "empty": (says(b""), "answers text/plain that is not in Prometheus' format"),
    "redirect": (
        says(b"", "Location: http://x/login", status="302 Found"),
        "answers 302 Found to http://x/login.",
    ),
    "reset": (targets.resets, "cannot be reached: "),
    "early": (targets.ends_early, "cannot be reached: "),
    "ssh": (targets.speaks_no_http, "cannot be reached: "),
    "other": (
        says(b"tgi_request_count 5\ntgi_request_input_length_sum 40\n"),
        "answers without any counter of the type vllm: check the type, and the path of the target, /metrics.",
    ),
    "broken": (
        says(vllm_text(1) + b'vllm:prompt_tokens_total{model_name="m"} one\n'),
        "has a line that is not in Prometheus' format (",
    ),
    "nan": (says(vllm_text("NaN", "NaN")), "answers without a counter that can be: "),
}


def test_each_bad_target_is_named_once_and_no_other_source_notices(run: Run, tmp_path: Path) -> None:
    good = Growing()
    token = tmp_path / "token"
    token.write_text("a-token-of-twenty-letters")
    port = free_port()
    with Target(good) as target, closed_port() as closed:
        bad = {name: Target(answer) for name, (answer, _) in HOSTILE.items()}
        for each in bad.values():
            each.__enter__()
        collector = run(
            source("good", target),
            *(source(name, each) for name, each in bad.items()),
            source("closed", f"http://127.0.0.1:{closed}/metrics"),
            {"name": "gateway", "type": "openai_usage"},
            intake={"port": port, "address": "127.0.0.1", "token_file": str(token)},
        )
        until(lambda: len(good.asked_at) >= 10, "the good target was asked ten times", 40)
        until(lambda: all(len(each.heads) >= 3 for each in bad.values()), "each was asked three times", 40)
        # status.json is written now and then, not at each look.
        names = [*HOSTILE, "closed"]
        until(
            lambda: {collector.status(name).get("state") for name in names} == {"failing"},
            "all are told as failing",
        )
        shown = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        for name, (_, sentence) in {**HOSTILE, "closed": (None, "cannot be reached: ")}.items():
            lines = collector.lines(name)
            assert len(lines) == 1, lines
            assert sentence in lines[0], lines
            assert collector.status(name)["state"] == "failing"
            assert sentence.rstrip(".") in collector.status(name)["reason"]
            assert f'gpu_token_source_up{{source="{name}",type="vllm"}} 0.0' in shown
            failures = re.search(rf'failures_total{{kind="[^"]+",source="{name}",type="vllm"}} (\d+)', shown)
            assert failures is not None
            assert int(failures[1]) >= 2
        assert collector.lines("good") == []
        assert collector.status("good")["state"] == "ok"
        assert collector.status("good")["events"] >= 5
        assert 'gpu_token_source_up{source="good",type="vllm"} 1.0' in shown
        waits = [after - before for before, after in pairwise(good.asked_at)]
        assert max(waits) < 2.0, waits
        assert collector.stop() == 0
        for each in bad.values():
            each.__exit__(None, None, None)
    assert "Traceback" not in collector.said


def test_a_source_that_answers_again_says_so_and_has_lost_nothing(
    run: Run, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    good = Growing()
    with Target(good) as target:
        collector = run(source("chat", target))
        until(lambda: good.shown >= 30, "it is read")
        target.answer = targets.resets
        until(lambda: len(collector.lines("chat")) == 1, "the trouble is named")
        target.answer = good
        until(lambda: len(collector.lines("chat")) == 2, "its end too")
        assert "answers again, after" in collector.lines("chat")[1]
        last = good.shown
        until(lambda: good.shown > last + 10, "it is read again")
        good.settle()
        assert collector.stop() == 0
    assert sums(usages(kafka.read(topics[1])))["m"]["prompt_tokens"] == good.shown - 10


def test_what_changes_in_mid_flight_is_counted_or_named(
    run: Run, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    began = time.time() - 100
    answers = [
        vllm_text(1000, 100, began=began),
        vllm_text(1010, 101, began=began),
        # Half an answer, nonsense, another's colon, fractions, a counter that goes backwards.
        vllm_text("NaN", 102, began=began),
        vllm_text(1020, "+Inf", began=began),
        vllm_text(1030, 103, began=began).replace(b"vllm:", b"vllm_"),
        vllm_text("1.0402e3", "103.9", began=began),
        vllm_text(1035, 104, began=began),
        vllm_text(1050, 105, began=began),
    ]
    asked = 0

    def answer(connection: Any) -> None:
        nonlocal asked
        says(answers[min(asked, len(answers) - 1)])(connection)
        asked += 1

    with Target(answer) as target:
        collector = run(source("chat", target))
        until(lambda: asked > len(answers), "all answers were given")
        assert collector.stop() == 0
    events = usages(kafka.read(topics[1]))
    assert sums(events) == {
        "m": {"prompt_tokens": 50, "completion_tokens": 5, "requests": 0, "cached_prompt_tokens": 0}
    }
    for line, remark in zip(
        collector.lines("chat"),
        [
            "vllm:prompt_tokens_total shows NaN, which is not counted.",
            "vllm:generation_tokens_total shows an infinite value, which is not counted.",
            "m: a counter went backwards though the engine did not restart",
        ],
        strict=True,
    ):
        assert remark in line


def test_an_event_that_cannot_be_sent_does_not_stop_its_source(
    run: Run, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    """Such as one of an earlier version, whose settings let a tag through that the contract refuses."""
    with Target(Growing()) as target:
        address = f"127.0.0.1:{target.port}"
        event = {"ts": "2026-03-02T10:00:00Z", "model": "m", "prompt_tokens": 1, "completion_tokens": 0}
        left = [
            {"kind": "usage", "event": event | {"event_id": "bad", "tags": {"$a": "b"}}},
            {"kind": "usage", "event": event | {"event_id": "good"}},
        ]
        state = tmp_path / "run" / "state"
        state.mkdir(parents=True)
        journal = state / f"{quote(f'vllm {address}', safe='')}.journal.json"
        journal.write_text(json.dumps({"target": f"vllm {address}", "pending": left}))
        collector = run(source("chat", target))
        until(lambda: collector.status("chat").get("events", 0) > 3, "it is read", 30)
        assert collector.stop() == 0
    (line,) = collector.lines("chat")
    assert f"1 of its events cannot be sent and stand in {state}/" in line
    found = usages(kafka.read(topics[1]))
    assert "good" in found
    assert "bad" not in found
    assert sums(found)["m"]["prompt_tokens"] > 30
    (kept,) = state.glob("*.refused.jsonl")
    assert json.loads(kept.read_text())["event"]["event_id"] == "bad"


def test_fifty_thousand_series_are_read_within_the_interval(run: Run) -> None:
    body = targets.many_series(50_000)
    with Target(says(body)) as target, Target(Growing()) as other:
        good = other.answer
        collector = run(source("large", target, interval_seconds=1), source("good", other))
        until(lambda: len(target.heads) >= 4, "it is read", 30)
        until(lambda: collector.status("large").get("state") == "ok", "it is said to be well")
        assert collector.stop() == 0
        assert isinstance(good, Growing)
        waits = [after - before for before, after in pairwise(good.asked_at)]
        assert max(waits) < 2.0, waits


def test_a_clock_that_is_ten_minutes_off_does_not_hide_a_restart(
    run: Run, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    began = time.time() - 500
    with Target(says(vllm_text(500, began=began - 600), date_offset=-600)) as target:
        collector = run(source("chat", target))
        until(lambda: len(target.heads) >= 2, "it is read")
        target.answer = says(vllm_text(600, began=time.time() - 600), date_offset=-600)
        seen = len(target.heads)
        until(lambda: len(target.heads) >= seen + 3, "its new life is read")
        assert collector.stop() == 0
    events = list(usages(kafka.read(topics[1])).values())
    assert [(usage.prompt_tokens, usage.counter_resets) for usage in events] == [(600, 1)]
    assert events[0].interval_seconds is not None
    assert events[0].interval_seconds < 3


# Kafka, the disk, and the stop


def test_a_stop_without_kafka_is_no_failure_and_nothing_is_lost(
    topics: tuple[str, str], tmp_path: Path
) -> None:
    good = Growing()
    with mock_kafka() as broker, mock_kafka() as other, Target(good) as target:
        broker.create(*topics)
        other.create(*topics)
        first = Collector(tmp_path / "a", broker.address, topics, [source("chat", target)], STOP_SECONDS="3")
        with first:
            until(lambda: good.shown >= 30, "it is read")
            # What the broker takes after it was read last is gone with it.
            good.settle()
            until(
                lambda: sums(usages(broker.read(topics[1])))["m"]["prompt_tokens"] == good.shown - 10,
                "all of it is delivered",
            )
            delivered = usages(broker.read(topics[1]))
            broker.process.kill()
            held, good.grows = good.shown, True
            until(lambda: good.shown >= held + 30, "it is read while Kafka is away")
            begun = time.monotonic()
            assert first.stop() == 0
            assert time.monotonic() - begun < 4.5
        assert "had no delivery report at the stop" in first.said
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        second = Collector(tmp_path / "b", other.address, topics, [source("chat", target)])
        with second:
            until(
                lambda: len(second.lines("chat")) == 0 and bool(usages(other.read(topics[1]))),
                "what was kept is sent",
            )
            again = good.shown
            until(lambda: good.shown >= again + 20, "it goes on")
            good.settle()
            assert second.stop() == 0
        events = usages(other.read(topics[1]))
    for event_id in delivered.keys() & events.keys():
        assert delivered[event_id] == events[event_id]
    assert sums(delivered | events)["m"]["prompt_tokens"] == good.shown - 10


def test_a_stop_after_all_was_delivered_leaves_nothing_to_repeat(run: Run, tmp_path: Path) -> None:
    good = Growing()
    with Target(good) as target:
        collector = run(source("chat", target))
        until(lambda: good.shown >= 30, "it is read")
        assert collector.stop() == 0
    (journal,) = collector.state.glob("*.journal.json")
    assert b'"pending":[]' in journal.read_bytes()
    assert "no delivery report" not in collector.said


def test_a_target_that_hangs_does_not_hold_up_the_stop(run: Run) -> None:
    with Target(targets.hangs) as target:
        collector = run(source("chat", target, timeout_seconds=60))
        until(lambda: target.heads != [], "it is asked")
        begun = time.monotonic()
        assert collector.stop() == 0
        assert time.monotonic() - begun < 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_stops_nothing_and_is_over_when_there_is_room(
    run: Run, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "small"
    state.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(state)], check=True, capture_output=True
        )
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("a small disk cannot be mounted here")
    good = Growing()
    try:
        with Target(good) as target:
            collector = run(source("chat", target), COLLECT_STATE_DIR=str(state))
            until(lambda: good.shown >= 30, "it is read")
            filler = state / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 1024)
                except OSError:
                    pass
            until(lambda: "No space left on device" in collector.said, "it is said")
            until(lambda: "status.json cannot be written" in collector.said, "of status.json too")
            filler.unlink()
            until(lambda: "answers again" in collector.said, "it goes on")
            shown = good.shown
            until(lambda: good.shown > shown + 10, "it is read again")
            good.settle()
            assert collector.stop() == 0
        said = [line for line in collector.said.splitlines() if "No space left" in line]
        assert len(said) == 2, collector.said
    finally:
        subprocess.run(["umount", str(state)], check=True)
    assert sums(usages(kafka.read(topics[1])))["m"]["prompt_tokens"] == good.shown - 10


def test_a_broken_state_file_stops_its_own_source_only(run: Run, tmp_path: Path) -> None:
    good, other = Growing(), Growing()
    with Target(good) as target, Target(other) as second:
        state = tmp_path / "run" / "state"
        state.mkdir(parents=True)
        broken = state / f"vllm%20127.0.0.1%3A{second.port}.journal.json"
        broken.write_text("{")
        collector = run(source("good", target), source("bad", second))
        until(lambda: good.shown >= 40, "the other is read")
        (line,) = collector.lines("bad")
        assert f"has the file {broken} of how far it was read, which cannot be read" in line
        broken.unlink()
        until(lambda: len(collector.lines("bad")) == 2, "it is read again")
        assert collector.stop() == 0


def test_a_folder_has_one_collector(
    run: Run, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    with Target(Growing()) as target:
        first = run(source("chat", target))
        until(lambda: first.status("chat") != {}, "the first runs")
        second = Collector(
            tmp_path / "second",
            kafka.address,
            topics,
            [source("chat", target)],
            COLLECT_STATE_DIR=str(first.state),
        )
        with second:
            assert second.process is not None
            assert second.process.wait(20) == 1
        assert "is in use by another collector: stop it" in second.said


def test_a_folder_that_cannot_be_written_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    collector = run(
        source("chat", "http://127.0.0.1:1/metrics"), COLLECT_STATE_DIR=str(tmp_path / "file" / "x")
    )
    assert collector.process is not None
    assert collector.process.wait(20) == 1
    assert collector.said.startswith(
        f"COLLECT_STATE_DIR {tmp_path}/file/x cannot be written (Not a directory)"
    )


def test_a_stop_while_answers_are_on_their_way_says_nothing(run: Run) -> None:
    with Target(targets.endless) as large, Target(targets.hangs) as silent:
        collector = run(
            *(
                source(f"large-{number}", large, timeout_seconds=60, instance=str(number))
                for number in range(4)
            ),
            source("silent", silent, timeout_seconds=60),
        )
        until(lambda: len(large.heads) >= 8 and silent.heads != [], "all are asked", 40)
        assert collector.stop() == 0
    assert "Task" not in collector.said
    assert "Traceback" not in collector.said
    assert collector.lines("silent") == []
