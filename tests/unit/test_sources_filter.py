"""The producers' sources: which are received or listed already, and what the collector says of each."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from ansible_collections.gpu_token.pipeline.plugins.filter import sources as module
from gpu_token_producers.sources.settings import Source

CHAT = {"name": "chat", "type": "vllm", "target": "http://10.0.0.5:8000/metrics"}
GATEWAY = {"name": "gateway", "type": "litellm"}


def told(name: str, state: str, reason: str | None = None) -> dict[str, Any]:
    return {"name": name, "type": "t", "state": state, "since": "10:00:00Z", "reason": reason, "events": 7}


def checks(
    *said: dict[str, Any], sources: tuple[dict[str, Any], ...] = (CHAT, GATEWAY)
) -> list[tuple[str, bool, str]]:
    found = module.source_checks({"text": json.dumps({"sources": said})}, sources)
    return [(check["name"], check["passed"], check["detail"]) for check in found]


def test_each_source_has_a_check() -> None:
    assert checks(told("chat", "ok"), told("gateway", "ok")) == [
        ("source chat", True, "7 events, ok"),
        ("source gateway", True, "7 events, ok"),
    ]


def test_a_source_that_does_not_answer_is_named_with_its_reason() -> None:
    found = checks(
        told("chat", "failing", "http://10.0.0.5:8000/metrics: connection refused"), told("gateway", "ok")
    )
    assert found[0] == (
        "source chat",
        False,
        "http://10.0.0.5:8000/metrics: connection refused (since 10:00:00Z)",
    )
    assert found[1][1]


def test_only_what_others_send_may_be_waited_for() -> None:
    found = checks(told("chat", "waiting"), told("gateway", "waiting"))
    assert [passed for _, passed, _ in found] == [False, True]
    assert "nothing was read yet" in found[0][2]


def test_a_source_that_the_collector_does_not_know() -> None:
    assert checks(told("gateway", "ok"))[0] == (
        "source chat",
        False,
        "the collector does not know it; run site.yml",
    )


def test_without_a_status_no_source_is_well() -> None:
    found = module.source_checks({"msg": "no status.json"}, [CHAT, GATEWAY])
    assert [(check["passed"], check["detail"]) for check in found] == [(False, "no status.json")] * 2
    assert module.source_checks({"msg": "no status.json"}, []) == []


def test_the_types_are_those_that_the_collector_reads() -> None:
    known = {
        kind
        for model in get_args(get_args(Source)[0])
        for kind in get_args(model.model_fields["type"].annotation)
    }
    assert set(module.source_types()) == known


def test_received_are_those_that_others_send() -> None:
    assert module.received([CHAT, GATEWAY, {"name": "x"}]) == ["gateway"]


@pytest.mark.parametrize("found", [[CHAT, GATEWAY], {"sources": [CHAT, GATEWAY]}])
def test_what_is_listed_is_not_added_again(found: Any) -> None:
    assert module.unlisted(found, []) == [CHAT, GATEWAY]
    assert module.unlisted(found, [{**CHAT, "name": "mine"}]) == [GATEWAY]
    assert module.unlisted(found, [{**CHAT, "target": "http://other"}]) == [GATEWAY]
    assert module.unlisted(None, [CHAT]) == []
