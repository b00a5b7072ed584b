"""`litellm`: the standard logging payload of LiteLLM's proxy, by its generic API callback or one's own."""

import re
from typing import Any

import msgspec
from gpu_token_contracts import bounds
from msgspec import Struct

from gpu_token_producers.intake.entries import decode, entries
from gpu_token_producers.intake.events import fit, usage_event
from gpu_token_producers.intake.keys import hashed
from gpu_token_producers.intake.openai_usage import from_seconds
from gpu_token_producers.intake.taken import Taken
from gpu_token_producers.intake.usage import Count, Usage
from gpu_token_producers.intake.usage import decoder as usage_decoder
from gpu_token_producers.sources.labels import Labels

# What LiteLLM calls the owner of its master key.
_ADMIN = "default_user_id"
# LiteLLM adds the client's program to the tags of each request.
_PROGRAM = "User-Agent:"
_API_PATH = re.compile(r"(/v1)?(/chat/completions|/completions|/embeddings|/responses|/messages)?/?$")


_NOTHING = msgspec.Raw(b"null")


class _Metadata(Struct, frozen=True):
    """LiteLLM promises none of the types: what is no text is as good as absent."""

    user_api_key_hash: Any = None
    user_api_key_team_alias: Any = None
    user_api_key_team_id: Any = None
    user_api_key_user_id: Any = None
    user_api_key_end_user_id: Any = None
    user_api_key_org_alias: Any = None
    user_api_key_org_id: Any = None
    user_api_key_project_alias: Any = None
    user_api_key_project_id: Any = None
    usage_object: msgspec.Raw = _NOTHING


class _Call(Struct, frozen=True):
    """What is read of one call. `messages`, `response` and all else is skipped while parsing."""

    id: str | int | None = None
    trace_id: Any = None
    status: Any = None
    call_type: Any = None
    model: Any = None
    model_group: Any = None
    api_base: Any = None
    end_user: Any = None
    cache_hit: Any = None
    request_tags: Any = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    startTime: int | float | None = None
    endTime: int | float | None = None
    metadata: _Metadata | None = None


_decoder = msgspec.json.Decoder(_Call | None, strict=False)


def read_litellm(body: bytes, labels: Labels, most: int) -> Taken:
    """The events of one batch: a JSON array, an object a line, or one object.

    Raises Refusal for a body that cannot be read at all.
    """
    taken = Taken()
    for index, entry in enumerate(entries(body, most)):
        try:
            call = decode(entry, _decoder)
            if call is None:
                taken.ignored["empty"] += 1
            elif reason := _no_use(call):
                taken.ignored[reason] += 1
            else:
                taken.events.append(_event(call, labels))
        except ValueError as error:
            taken.refused.append((index, str(error)))
    return taken


def _no_use(call: _Call) -> str | None:
    """Why a call used no GPU, or nobody knows how much of one."""
    if call.cache_hit is True or call.cache_hit == "True":
        return "cache_hit"
    if call.status == "failure":
        return "failure"
    if not call.prompt_tokens and not call.completion_tokens:
        return "no_tokens"
    return None


def _event(call: _Call, labels: Labels) -> Any:
    if call.id is None or call.id == "":
        raise ValueError("Field id is missing.")
    ended = call.endTime if call.endTime is not None else call.startTime
    if ended is None:
        raise ValueError("Fields endTime and startTime are missing.")
    metadata = call.metadata or _Metadata()
    prompt, completion = call.prompt_tokens or 0, call.completion_tokens or 0
    cached, reasoning = _details(metadata.usage_object)
    key = fit(metadata.user_api_key_hash)
    model = fit(call.model_group) or fit(call.model)
    fields = {
        "ts": from_seconds(ended),
        "model": model,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        # More than the whole is no part of it: not known.
        "cached_prompt_tokens": cached if cached is not None and cached <= prompt else None,
        "reasoning_tokens": reasoning if reasoning is not None and reasoning <= completion else None,
        "latency_ms": _latency_ms(call),
        "endpoint": _endpoint(call.api_base),
        "team": fit(metadata.user_api_key_team_alias) or fit(metadata.user_api_key_team_id),
        "tenant": fit(metadata.user_api_key_org_alias) or fit(metadata.user_api_key_org_id),
        "user": _user(call, metadata),
        "workload": fit(metadata.user_api_key_project_alias) or fit(metadata.user_api_key_project_id),
        "api_key_hash": hashed(key) if key else None,
        "tags": _own_tags(call, model),
        "measured_by": "gateway",
    }
    return usage_event("litellm", str(call.id), fields, labels, sent_tags=_sent_tags(call))


def _details(usage_object: msgspec.Raw) -> tuple[int | None, int | None]:
    """Cached and reasoning tokens. LiteLLM brings every provider's usage to OpenAI's convention."""
    try:
        usage: Usage = decode(usage_object, usage_decoder)
    except ValueError:
        return None, None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = prompt.cached_tokens if prompt is not None else None
    return (
        usage.cache_read_input_tokens if cached is None else cached,
        completion.reasoning_tokens if completion is not None else None,
    )


def _endpoint(api_base: object) -> str | None:
    """Where the engine is, without the path of its API: one name, whatever was called there."""
    return fit(_API_PATH.sub("", api_base)) if isinstance(api_base, str) else None


def _latency_ms(call: _Call) -> int | None:
    if call.startTime is None or call.endTime is None:
        return None
    took_ms = (call.endTime - call.startTime) * 1000
    return round(took_ms) if 0 <= took_ms <= bounds.MAX_LATENCY_MS else None


def _user(call: _Call, metadata: _Metadata) -> str | None:
    """The user whom the caller names, else the owner of the key."""
    end_user = fit(call.end_user) or fit(metadata.user_api_key_end_user_id)
    owner = fit(metadata.user_api_key_user_id)
    return end_user or (owner if owner != _ADMIN else None)


def _sent_tags(call: _Call) -> dict[str, str]:
    """`name:value` by its first colon; without one, a name with an empty value."""
    tags: dict[str, str] = {}
    for tag in call.request_tags if isinstance(call.request_tags, list) else ():
        text = fit(tag)
        if text is None or text.startswith(_PROGRAM):
            continue
        name, _, value = text.partition(":")
        name, value = name.strip(), value.strip()
        if name and "\0" not in name and not name.startswith("$"):
            tags.setdefault(name, value)
    return tags


def _own_tags(call: _Call, model: str | None) -> dict[str, str]:
    tags = {"usage_convention": "openai"}
    if trace := fit(call.trace_id):
        tags["trace_id"] = trace
    if (called := fit(call.model)) and called != model:
        tags["called_model"] = called
    return tags
