"""`openai_usage`: what is read of usage objects and whole bodies, and what is refused."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from gpu_token_producers.intake.keys import key_hash
from gpu_token_producers.intake.openai_usage import read_usage
from gpu_token_producers.intake.refusal import Refusal
from gpu_token_producers.intake.taken import Taken
from gpu_token_producers.sources.labels import Labels
from hypothesis import given
from hypothesis import strategies as st

_TS = 1_772_445_600
_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": _TS,
    "model": "chat",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "MARKER"}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "total_tokens": 140,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 30},
    },
}
_RESPONSES = {
    "id": "resp-1",
    "object": "response",
    "created_at": _TS,
    "model": "chat",
    "user": None,
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "MARKER"}]}],
    "usage": {
        "input_tokens": 100,
        "output_tokens": 40,
        "total_tokens": 140,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens_details": {"reasoning_tokens": 30},
    },
}
_ANTHROPIC = {
    "id": "msg-1",
    "type": "message",
    "model": "chat",
    "ts": "2026-03-02T10:00:00Z",
    "content": [{"type": "text", "text": "MARKER"}],
    "usage": {
        "input_tokens": 30,
        "cache_read_input_tokens": 64,
        "cache_creation_input_tokens": 6,
        "output_tokens": 40,
    },
}


def _read(content: Any, **labels: Any) -> Taken:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_usage(body, Labels(**labels), 10_000)


@pytest.mark.parametrize(
    ("body", "convention", "reasoning"),
    [(_CHAT, "openai", 30), (_RESPONSES, "openai", 30), (_ANTHROPIC, "anthropic", None)],
    ids=["chat", "responses", "anthropic"],
)
def test_one_convention(body: dict[str, Any], convention: str, reasoning: int | None) -> None:
    taken = _read(body)
    (event,) = taken.events
    assert (event.prompt_tokens, event.cached_prompt_tokens, event.completion_tokens) == (100, 64, 40)
    assert event.reasoning_tokens == reasoning
    assert event.tags == {"usage_convention": convention}
    assert event.measured_by == "gateway"
    assert event.ts.timestamp() == _TS
    assert "MARKER" not in repr(taken)


_COUNTS = {"input_tokens": 30, "output_tokens": 40, "cache_read_input_tokens": 60}


@pytest.mark.parametrize(
    ("type_", "usage", "prompt", "convention"),
    [
        ("message", {**_COUNTS, "total_tokens": 130}, 90, "anthropic"),
        ("message", {**_COUNTS, "total_tokens": 70}, 90, "anthropic"),
        ("message", {"input_tokens": 30, "output_tokens": 40, "total_tokens": 70}, 30, "anthropic"),
        (None, {**_COUNTS, "total_tokens": 130}, 90, "anthropic"),
        (None, {**_COUNTS, "total_tokens": 70}, 90, "anthropic"),
        (None, {**_COUNTS, "cache_creation_input_tokens": 5, "total_tokens": 135}, 95, "anthropic"),
        (None, {**_COUNTS, "cache_read_input_tokens": 20, "total_tokens": 70}, 30, "openai"),
        (None, {**_COUNTS, "cache_read_input_tokens": 0, "total_tokens": 70}, 30, "openai"),
        (None, {"input_tokens": 30, "output_tokens": 40}, 30, "openai"),
    ],
)
def test_a_total_does_not_hide_whose_counts_they_are(
    type_: str | None, usage: dict[str, int], prompt: int, convention: str
) -> None:
    (event,) = _read({**_ANTHROPIC, "type": type_, "usage": usage}).events
    assert (event.prompt_tokens, event.completion_tokens) == (prompt, 40)
    assert event.tags == {"usage_convention": convention}


def test_fields_and_labels() -> None:
    given_fields = {
        "team": "red",
        "user": "ann",
        "api_key": "sk-secret",
        "tags": {"env": "prod"},
        "deployment": "theirs",
        "latency_ms": 12,
    }
    taken = _read(
        {**_CHAT, **given_fields},
        team="blue",
        tenant="acme",
        deployment="ours",
        tags={"env": "x", "site": "y"},
        model="other",
    )
    (event,) = taken.events
    assert (event.model, event.team, event.tenant, event.user) == ("chat", "red", "acme", "ann")
    # Only where it runs is known better here.
    assert event.deployment == "ours"
    assert event.tags == {"env": "prod", "site": "y", "usage_convention": "openai"}
    assert event.api_key_hash == key_hash("sk-secret")
    assert "sk-secret" not in repr(event)


def test_the_id_follows_from_all_that_the_event_says() -> None:
    first, again, other = _read([_CHAT, _CHAT, {**_CHAT, "team": "red"}]).events
    assert first == again
    assert first.event_id != other.event_id
    assert _read({**_CHAT, "id": "x" * 500}).events[0].event_id != _read(_CHAT).events[0].event_id


def test_embeddings_and_empty_ones() -> None:
    embedding = {**_CHAT, "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    taken = _read([embedding, {**_CHAT, "usage": {"prompt_tokens": 0, "completion_tokens": 0}}])
    assert [(one.prompt_tokens, one.completion_tokens) for one in taken.events] == [(7, 0)]
    assert taken.ignored == {"no_tokens": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None}, "id is missing"),
        ({"id": ""}, "id is missing"),
        ({"id": [7]}, "Field id is a list, not a whole number or text."),
        ({"usage": None}, "usage is missing"),
        ({"usage": {}}, "neither"),
        ({"usage": {"prompt_tokens": -1}}, "Field usage.prompt_tokens is less than 0."),
        ({"usage": {"prompt_tokens": 10**30}}, "Field usage.prompt_tokens is "),
        ({"usage": {"prompt_tokens": 1.5}}, "Field usage.prompt_tokens is a fraction, not a whole number."),
        (
            {"usage": {"prompt_tokens": True}},
            "Field usage.prompt_tokens is true or false, not a whole number.",
        ),
        ({"usage": {"prompt_tokens": "x"}}, "Field usage.prompt_tokens is text, not a whole number."),
        ({"usage": {"prompt_tokens": float("nan")}}, "neither"),
        ({"usage": [1]}, "Field usage is a list, not an object."),
        (
            {"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}},
            "cached_prompt_tokens",
        ),
        ({"model": None}, "model is missing"),
        ({"model": "x" * 257}, "model"),
        ({"created": None}, "ts is missing"),
        ({"created": 10**300}, "time"),
        ({"created": -(10**11)}, "time"),
        ({"ts": "yesterday"}, "no time"),
        ({"ts": "2026-03-02T10:00:00"}, "no zone"),
        ({"tags": {"$a": "b"}}, "tags"),
        ({"tags": {"a": []}}, "A value in field tags is a list, not a number or text."),
        ({"latency_ms": -1}, "latency_ms"),
    ],
)
def test_refused_by_itself(change: dict[str, Any], says: str) -> None:
    taken = _read([_CHAT, {**_CHAT, **change}, {**_CHAT, "id": "last"}])
    assert len(taken.events) == 2
    ((index, reason),) = taken.refused
    assert index == 1
    assert says in reason
    assert "MARKER" not in reason


def test_numbers_where_text_is_usual_and_the_other_way_round() -> None:
    usage = {"prompt_tokens": 100.0, "completion_tokens": "40"}
    taken = _read({**_CHAT, "id": 5, "user": 7, "usage": usage, "tags": {"run": 3, "temperature": 0.5}})
    (event,) = taken.events
    assert (event.prompt_tokens, event.completion_tokens, event.user) == (100, 40, "7")
    assert event.tags == {"run": "3", "temperature": "0.5", "usage_convention": "openai"}
    assert (event.event_id or "").startswith("usage:5:")


@pytest.mark.parametrize("of_labels", [0, 5, 16])
def test_more_tags_than_an_event_can_have(of_labels: int) -> None:
    labels = {f"l{number}": "y" for number in range(of_labels)}
    tags = {f"t{number}": "x" for number in range(32)} | ({"l0": "sent"} if of_labels else {})
    (event,) = _read({**_CHAT, "tags": tags}, tags=labels).events
    assert event.tags is not None
    assert len(event.tags) == 32
    assert event.tags["usage_convention"] == "openai"
    assert event.tags.get("l0", "sent") == "sent"
    assert sum(name.startswith("t") for name in event.tags) == max(0, 31 - of_labels)


def test_lines_and_what_is_no_json_in_them() -> None:
    lines = [json.dumps(_CHAT), "{broken", json.dumps({**_CHAT, "id": "b"}), ""]
    taken = _read("\n".join(lines).encode())
    assert [event.event_id.split(":")[1] for event in taken.events if event.event_id] == ["chatcmpl-1", "b"]
    assert taken.refused == [(1, "It is not JSON.")]
    assert len(_read(json.dumps(_CHAT, indent=2).encode()).events) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello MARKER",
        b"<html>",
        b'"text"x',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"usage": "\xff"}x',
        b"\xff\xfe",
        b'[{"usage":' + b"[" * 5000 + b"]" * 5000 + b"}]",
        b"[1" + b"0" * 100_000 + b"]x",
    ],
)
def test_no_json_at_all(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        _read(body)
    assert refused.value.status == 400
    assert "MARKER" not in refused.value.detail


@pytest.mark.parametrize("body", [b'[1, null, [], "MARKER"]', b"7"])
def test_json_of_other_things(body: bytes) -> None:
    taken = _read(body)
    assert taken.useless
    assert "MARKER" not in str(taken.refused)


def test_what_only_python_writes_spoils_nothing() -> None:
    taken = _read([{**_CHAT, "choices": "\ud83d MARKER", "cost": float("inf")}, {**_CHAT, "user": "a\ud800"}])
    assert [event.user for event in taken.events] == [None, "a?"]


def test_too_many_objects() -> None:
    with pytest.raises(Refusal) as refused:
        _read(b"[" + b"{}," * 10_000 + b"{}]")
    assert refused.value.status == 413


def test_what_lies_ahead_of_the_clock_is_refused_by_itself() -> None:
    now = time.time()
    taken = _read([{**_CHAT, "ts": now + seconds, "id": str(seconds)} for seconds in (-(10**8), 500, 700)])
    assert len(taken.events) == 2
    ((index, reason),) = taken.refused
    assert index == 2
    assert reason.endswith("more than 600 seconds ahead of the clock here: correct the sender's clock.")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*_CHAT, "ts", "tags"]), inner)
    ),
    max_leaves=20,
)


@given(_JSON)
def test_anything_is_taken_or_refused(content: Any) -> None:
    _read([content, _CHAT])
    with suppress(Refusal):
        _read(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    with suppress(Refusal):
        _read(body)
