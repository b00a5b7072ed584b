"""Makes events of what readers found: labels filled in, identity given, the contract checked."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from gpu_token_contracts import TokenUsage, decode_token_usage, encode, format_ts
from gpu_token_contracts.bounds import MAX_TAGS, MAX_TEXT_LENGTH

from gpu_token_producers.ids import digest
from gpu_token_producers.intake.ahead import check_not_ahead
from gpu_token_producers.sources.labels import Labels

# What the payload says wins over these; only `deployment` is the other way round.
_FILLED = ("host", "model", "gpu_uuids", "tenant", "team", "workload")
_NO_TAGS: Mapping[str, str] = {}
# Leaves room for the other parts of an event's id.
_MAX_ID_LENGTH = 160


def usage_event(
    origin: str,
    request_id: str,
    fields: dict[str, Any],
    labels: Labels,
    *,
    sent_tags: Mapping[str, str] = _NO_TAGS,
) -> TokenUsage:
    """One event. Its id follows from the request's own id and all that the event says.

    The tags of `fields` are the intake's own. `sent_tags` win over those of the labels, and are left out
    where an event can have no more: not every sender would send the request again without them.

    Raises ValueError with a sentence if the contract refuses it or it lies in the future, and TypeError
    never.
    """
    for name in _FILLED:
        if fields.get(name) is None:
            fields[name] = getattr(labels, name)
    if labels.deployment is not None:
        fields["deployment"] = labels.deployment
    tags = _tags(fields.get("tags") or {}, labels.tags or {}, sent_tags)
    # In one order, since the id follows from what is written.
    fields["tags"] = dict(sorted(tags.items())) or None
    check_not_ahead(fields["ts"].timestamp(), format_ts(fields["ts"]))
    if fields["model"] is None:
        raise ValueError("Field model is missing.")
    fields["model"] = labels.models.get(fields["model"], fields["model"])
    event = TokenUsage(**fields)
    event_id = f"{origin}:{_short(request_id)}:{digest(encode(event).decode())}"
    return decode_token_usage(encode(msgspec.structs.replace(event, event_id=event_id)))


def _tags(own: Mapping[str, str], of_labels: Mapping[str, str], sent: Mapping[str, str]) -> dict[str, str]:
    tags = dict(own)
    for name, value in (*of_labels.items(), *sent.items()):
        if name not in own and (name in tags or len(tags) < MAX_TAGS):
            tags[name] = value
    return tags


def fit(value: object) -> str | None:
    """A text that the contract takes; None for what is none. A long one is cut, and stays distinct."""
    if not isinstance(value, str) or not value:
        return None
    if len(value) <= MAX_TEXT_LENGTH:
        return value
    mark = f"~{digest(value)}"
    return value[: MAX_TEXT_LENGTH - len(mark)] + mark


def _short(request_id: str) -> str:
    if len(request_id) <= _MAX_ID_LENGTH:
        return request_id
    return hashlib.sha256(request_id.encode()).hexdigest()
