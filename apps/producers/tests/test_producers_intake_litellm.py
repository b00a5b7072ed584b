"""`litellm`: the standard logging payload, as LiteLLM 1.99.0 wrote it."""

import json
from typing import Any

import pytest
from gpu_token_producers.intake.keys import key_hash
from gpu_token_producers.intake.litellm import read_litellm
from gpu_token_producers.intake.taken import Taken
from gpu_token_producers.sources.labels import Labels

_HASH = "95b744891d7401988960bfa8edffa38c358ac066cee515285a0ed3ba5f2dfe05"
_METADATA = {
    "user_api_key_hash": _HASH,
    "user_api_key_alias": None,
    "user_api_key_team_id": "team-1",
    "user_api_key_team_alias": "search",
    "user_api_key_org_id": "acme",
    "user_api_key_user_id": "ann",
    "user_api_key_end_user_id": "eve",
    "user_api_key_auth_metadata": {"a": "b"},
    "requester_metadata": {"note": "MARKER"},
    "usage_object": {
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "total_tokens": 140,
        "prompt_tokens_details": {"cached_tokens": 64, "text_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": 30, "text_tokens": None},
    },
}
_CALL = {
    "id": "chatcmpl-1",
    "trace_id": "trace-1",
    "session_id": "",
    "call_type": "acompletion",
    "cache_hit": None,
    "stream": None,
    "status": "success",
    "custom_llm_provider": "openai",
    "startTime": 1772445600.25,
    "endTime": 1772445601.5,
    "completionStartTime": 1772445600.5,
    "model": "openai/llama",
    "response_cost": 0.0,
    "total_tokens": 140,
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "request_tags": ["env:prod", "job", "User-Agent: python-httpx", "env:later", "$bad", "a\0b", 7, ""],
    "end_user": "eve",
    "api_base": "http://10.0.0.5:8000/v1/chat/completions",
    "model_group": "chat",
    "model_id": "e6e83d",
    "messages": [{"role": "user", "content": "MARKER"}],
    "response": {"choices": [{"message": {"content": "MARKER"}}]},
    "metadata": _METADATA,
}


def _read(content: Any, **labels: Any) -> Taken:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_litellm(body, Labels(**labels), 10_000)


def test_every_field() -> None:
    taken = _read([_CALL], deployment="chat-a", team="other")
    (event,) = taken.events
    assert event.event_id is not None
    assert event.event_id.startswith("litellm:chatcmpl-1:")
    assert (event.model, event.deployment, event.endpoint) == ("chat", "chat-a", "http://10.0.0.5:8000")
    assert (event.prompt_tokens, event.cached_prompt_tokens) == (100, 64)
    assert (event.completion_tokens, event.reasoning_tokens) == (40, 30)
    assert (event.team, event.tenant, event.user, event.api_key_hash) == ("search", "acme", "eve", _HASH)
    assert (event.ts.timestamp(), event.latency_ms, event.measured_by) == (1772445601.5, 1250, "gateway")
    assert event.tags == {
        "env": "prod",
        "job": "",
        "trace_id": "trace-1",
        "called_model": "openai/llama",
        "usage_convention": "openai",
    }
    assert "MARKER" not in repr(taken)


def _with(**changes: Any) -> dict[str, Any]:
    return {**_CALL, "metadata": {**_METADATA, **changes}}


def test_whose() -> None:
    (event,) = _read(
        [{**_with(user_api_key_team_alias=None, user_api_key_end_user_id=None), "end_user": ""}]
    ).events
    assert (event.team, event.user) == ("team-1", "ann")
    (event,) = _read(
        [{**_with(user_api_key_user_id="default_user_id", user_api_key_end_user_id=None), "end_user": None}]
    ).events
    assert event.user is None
    (event,) = _read([{**_CALL, "metadata": None}], team="blue").events
    assert (event.team, event.user, event.cached_prompt_tokens) == ("blue", "eve", None)


def test_a_key_that_is_no_hash_is_hashed() -> None:
    (event,) = _read([_with(user_api_key_hash="sk-secret")]).events
    assert event.api_key_hash == key_hash("sk-secret")


@pytest.mark.parametrize(
    ("api_base", "endpoint"),
    [
        ("http://10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("http://10.0.0.5:8000/v1", "http://10.0.0.5:8000"),
        ("http://10.0.0.5:8000/v1/", "http://10.0.0.5:8000"),
        ("https://llm.example.com/405b/v1/chat/completions", "https://llm.example.com/405b"),
        ("https://llm.example.com/v11", "https://llm.example.com/v11"),
    ],
)
def test_one_engine_has_one_endpoint(api_base: str, endpoint: str) -> None:
    assert _read({**_CALL, "api_base": api_base}).events[0].endpoint == endpoint


def test_a_model_gets_the_engines_name() -> None:
    assert _read(_CALL, models={"chat": "llama-3.3-70b", "other": "x"}).events[0].model == "llama-3.3-70b"


def test_what_used_no_gpu() -> None:
    taken = _read(
        [
            {**_CALL, "cache_hit": True, "id": "chatcmpl-1_cache_hit1772445600.5"},
            {**_CALL, "status": "failure"},
            {**_CALL, "prompt_tokens": 0, "completion_tokens": None},
            None,
        ]
    )
    assert not taken.events
    assert taken.ignored == {"cache_hit": 1, "failure": 1, "no_tokens": 1, "empty": 1}


def test_retries_are_calls_of_their_own() -> None:
    events = _read([_CALL, {**_CALL, "id": "chatcmpl-2"}]).events
    assert len({event.event_id for event in events}) == 2
    assert {(event.tags or {})["trace_id"] for event in events} == {"trace-1"}


@pytest.mark.parametrize(
    "content",
    [[_CALL, {"id": []}, _CALL], b"\n".join(json.dumps(one).encode() for one in (_CALL, {"id": []}, _CALL))],
    ids=["array", "lines"],
)
def test_a_bad_one_spoils_no_other(content: Any) -> None:
    taken = _read(content)
    assert len(taken.events) == 2
    assert [index for index, _ in taken.refused] == [1]


@pytest.mark.parametrize(
    "usage_object",
    [None, [], "MARKER", {"prompt_tokens_details": 7}, {"prompt_tokens_details": {"cached_tokens": 101}}],
)
def test_details_that_make_no_sense_are_left_out(usage_object: Any) -> None:
    (event,) = _read([_with(usage_object=usage_object)]).events
    assert (event.prompt_tokens, event.cached_prompt_tokens) == (100, None)


def test_cached_tokens_by_anthropics_name() -> None:
    (event,) = _read([_with(usage_object={"prompt_tokens": 100, "cache_read_input_tokens": 9})]).events
    assert (event.prompt_tokens, event.cached_prompt_tokens) == (100, 9)


def test_long_texts_are_cut_and_stay_distinct() -> None:
    one, two = _read([{**_CALL, "end_user": "u" * 300}, {**_CALL, "end_user": "u" * 301}]).events
    assert one.user is not None
    assert len(one.user) == 256
    assert one.user != two.user


def test_many_tags() -> None:
    call = {**_CALL, "request_tags": [f"t{number}" for number in range(100)]}
    (event,) = _read([call], tags={"site": "a", "row": "b"}).events
    assert event.tags is not None
    assert len(event.tags) == 32
    assert {"site", "row", "trace_id", "t0"} <= set(event.tags)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": ""},
        {"startTime": None, "endTime": None},
        {"endTime": "2026-03-02"},
        {"prompt_tokens": -5},
        {"prompt_tokens": 10**30},
        {"completion_tokens": 1.5},
        {"metadata": "text"},
        {"model": None, "model_group": None},
    ],
)
def test_refused(change: dict[str, Any]) -> None:
    taken = _read([{**_CALL, **change}])
    assert not taken.events
    assert len(taken.refused) == 1
