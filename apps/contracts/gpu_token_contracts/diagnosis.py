"""Rules between fields, and why an event was refused. Few events come here, so it need not be fast."""

import json
import re
from typing import Any, NoReturn, get_args

import msgspec

from gpu_token_contracts import bounds
from gpu_token_contracts.errors import InvalidEvent, Reason
from gpu_token_contracts.events import GpuMetric, MeasuredBy, TokenUsage

# Where the mistake is: the event's field, and the place within it.
_FIELD = re.compile(r" - at `(?P<key>key` in `)?\$\.(?P<field>[^`.\[]+)(?P<within>[^`]*)`$")
_NO_CHOICE = "Invalid enum value"
_MEASURED_BY = " or ".join(f"`{one}`" for one in get_args(MeasuredBy))
_OUT_OF_RANGE = re.compile(r"` (<=|>=|>|of length) |^Invalid enum value")
_MISSING = re.compile(r"^Object missing required field `([^`]+)`")
_SHOWN_LENGTH = 60


class _NotFiniteError(ValueError):
    pass


def explain(error: Exception, body: bytes) -> InvalidEvent:
    """The refusal for a decoding error of `body`."""
    try:
        body.decode()
    except UnicodeDecodeError as utf8_error:
        return InvalidEvent(
            Reason.INVALID_UTF8,
            f"The value is not UTF-8: byte {utf8_error.start} is 0x{body[utf8_error.start]:02x}.",
        )
    if isinstance(error, msgspec.ValidationError):
        return _explain_validation(str(error), body)
    return _explain_syntax(error, body)


def check_metric(metric: GpuMetric) -> None:
    """Refuse a reading of no GPU, and one that uses more memory than there is."""
    if metric.uuid is None and metric.gpu_index is None:
        raise InvalidEvent(
            Reason.MISSING_FIELD,
            "Fields uuid and gpu_index are missing: name the GPU by one of them.",
        )
    used, total = metric.mem_used_mb, metric.mem_total_mb
    if used is not None and total is not None:
        _require_part("mem_used_mb", used, "mem_total_mb", total)


def check_usage(usage: TokenUsage) -> None:
    """Refuse parts that are more than the whole, and tags that no store can hold."""
    for name, part, whole_name, whole in (
        ("cached_prompt_tokens", usage.cached_prompt_tokens, "prompt_tokens", usage.prompt_tokens),
        ("reasoning_tokens", usage.reasoning_tokens, "completion_tokens", usage.completion_tokens),
    ):
        if part is not None:
            _require_part(name, part, whole_name, whole)
    for key in usage.tags or ():
        if "\0" in key or key.startswith("$"):
            raise InvalidEvent(
                Reason.OUT_OF_RANGE,
                f"Field tags has the key {_brief(json.dumps(key))}: give it a name without NUL and without $ "
                "at its start.",
            )


def check_extras(extras: dict[str, Any]) -> None:
    """Refuse fields that could never be stored, so that they do not stop the store later."""
    for name, field in extras.items():
        _check_extra(name, name, field, depth=1)


def _explain_syntax(error: Exception, body: bytes) -> InvalidEvent:
    try:
        json.loads(body, parse_constant=_refuse_constant)
    except _NotFiniteError as constant:
        return InvalidEvent(Reason.NOT_FINITE, f"The value holds {constant}, which JSON does not have.")
    except (ValueError, RecursionError):
        pass
    if isinstance(error, RecursionError):
        return InvalidEvent(Reason.INVALID_JSON, "The value is not JSON that can be read: nested too deep.")
    return InvalidEvent(Reason.INVALID_JSON, f"The value is not JSON: {error}.")


def _refuse_constant(constant: str) -> NoReturn:
    raise _NotFiniteError(constant)


def _explain_validation(text: str, body: bytes) -> InvalidEvent:
    missing = _MISSING.match(text)
    if missing:
        return InvalidEvent(Reason.MISSING_FIELD, f"Field {missing[1]} is missing.")
    place = _FIELD.search(text)
    if place is None:
        return InvalidEvent(_reason(text, None), f"The value is refused: {text}.")
    expectation, field = text[: place.start()], place["field"]
    reason = _reason(expectation, field)
    if expectation.startswith(_NO_CHOICE):
        expectation = f"Expected {_MEASURED_BY}"
    if place["key"]:
        expectation += " in its keys"
    elif place["within"]:
        expectation += f" at {field}{place['within']}"
    return InvalidEvent(reason, f"Field {field} is {_shown(body, field)}: {expectation}.")


def _reason(expectation: str, field: str | None) -> Reason:
    if expectation.startswith("Number out of range"):
        return Reason.NOT_FINITE
    if field == "ts":
        return Reason.BAD_TIMESTAMP
    if _OUT_OF_RANGE.search(expectation):
        return Reason.OUT_OF_RANGE
    return Reason.WRONG_TYPE


def _shown(body: bytes, field: str) -> str:
    try:
        value = json.dumps(json.loads(body)[field], ensure_ascii=False)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not acceptable"
    return _brief(value)


def _brief(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…"


def _require_part(name: str, part: float, whole_name: str, whole: float) -> None:
    if part > whole:
        raise InvalidEvent(
            Reason.OUT_OF_RANGE,
            f"Field {name} is {part:.15g}, more than {whole_name}, which is {whole:.15g}.",
        )


def _check_extra(path: str, name: str, value: Any, depth: int) -> None:
    if "\0" in name:
        raise InvalidEvent(Reason.BAD_EXTRA, f"Unknown field {path!r} has a NUL in its name.")
    if depth > bounds.MAX_EXTRA_DEPTH:
        raise InvalidEvent(
            Reason.BAD_EXTRA, f"Unknown field {path!r} is nested more than {bounds.MAX_EXTRA_DEPTH} deep."
        )
    if isinstance(value, int) and not bounds.MIN_EXTRA_INT <= value <= bounds.MAX_EXTRA_INT:
        raise InvalidEvent(Reason.BAD_EXTRA, f"Unknown field {path!r} is an integer of more than 64 bits.")
    if isinstance(value, dict):
        for inner_name, inner in value.items():
            _check_extra(path, inner_name, inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_extra(path, "", inner, depth + 1)
