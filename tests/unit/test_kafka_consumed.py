"""What the module kafka_consumed reads out of Kafka's tools."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_consumed as module

GROUP = "gpu-token-processor"
DESCRIPTION = """
GROUP               TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID   HOST
gpu-token-processor token.usage.v1  0          90              100             10   processor-1-a /10.0.1.12
gpu-token-processor token.usage.v1  1          -               7               -    processor-1-a /10.0.1.12
gpu-token-processor gpu.metrics.v1  0          5               5               0    processor-1-a /10.0.1.12
other               token.usage.v1  0          0               100             100  -             -
"""


def test_reads_how_far_each_partition_reaches() -> None:
    assert module.ends(DESCRIPTION, GROUP) == {
        ("token.usage.v1", "0"): 100,
        ("token.usage.v1", "1"): 7,
        ("gpu.metrics.v1", "0"): 5,
    }


def test_a_dash_stands_for_nothing_committed() -> None:
    assert module.events_behind(module.ends(DESCRIPTION, GROUP), DESCRIPTION, GROUP) == 10 + 7


def test_what_is_sent_later_does_not_count() -> None:
    later = DESCRIPTION.replace("90              100", "100             180").replace(
        "-               7", "9  9"
    )
    assert module.events_behind(module.ends(DESCRIPTION, GROUP), later, GROUP) == 0


def test_a_partition_that_is_not_described_again_is_behind() -> None:
    assert module.events_behind({("token.usage.v1", "0"): 3}, "", GROUP) == 3


def test_a_group_that_read_nothing_yet_is_not_known_to_have_read_all() -> None:
    said = "Consumer group 'gpu-token-processor' has no active members.\n"
    assert module.events_behind(module.ends(said, GROUP), said, GROUP) is None


def test_counts_letters_from_a_moment_on() -> None:
    first = "a.dlq:0:4\na.dlq:1:\nb.dlq:0:-1\nb.dlq:1:0\n"
    latest = "a.dlq:0:10\na.dlq:1:3\nb.dlq:0:8\nb.dlq:1:2\n"
    assert module.events_between(first, latest) == 6 + 2


def test_what_the_tool_says_beside_offsets_is_no_offset() -> None:
    assert module.offsets("[2026-01-01 00:00:00,123] WARN something: odd\na.dlq:0:4\n\n") == {"a.dlq:0": 4}


@pytest.mark.parametrize("moment", ["1970-01-02T00:00:01Z", "1970-01-02T00:00:01.999999+00:00"])
def test_a_moment_is_its_second(moment: str) -> None:
    assert module.milliseconds(moment) == 86_401_000


class Tool:
    """Stands for Kafka's tool: one description after the other, the last for ever."""

    def __init__(self, *descriptions: str) -> None:
        self.descriptions = list(descriptions)

    def run(self, *_: Any) -> str:
        return self.descriptions.pop(0) if len(self.descriptions) > 1 else self.descriptions[0]


def description(committed: int, end: int) -> str:
    return f"{GROUP} token.usage.v1 0 {committed} {end} {end - committed} - -\n"


def behind(monkeypatch: pytest.MonkeyPatch, wait_seconds: int, *descriptions: str) -> int | None:
    monkeypatch.setattr(module, "run", Tool(*descriptions).run)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    answer: int | None = module.behind_after(None, GROUP, wait_seconds)
    return answer


def test_waits_for_what_was_there_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [description(0, 5), description(3, 9), description(6, 12)]
    assert behind(monkeypatch, 60, *looks) == 0


def test_waits_no_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert behind(monkeypatch, 0, description(2, 5), description(5, 5)) == 3
