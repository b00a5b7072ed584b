"""Says why an event was refused. Runs only on refused events, so it need not be fast."""

import json
import re
from typing import Any, NoReturn

import msgspec

from gpu_token_contracts import bounds
from gpu_token_contracts.errors import InvalidEvent, Reason

_FIELD = re.compile(r" - at `\$\.([^`]+)`$")
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
    field = _FIELD.search(text)
    expectation = text[: field.start()] if field else text
    reason = _reason(expectation, field[1] if field else None)
    if field is None:
        return InvalidEvent(reason, f"The value is refused: {expectation}.")
    return InvalidEvent(reason, f"Field {field[1]} is {_shown(body, field[1])}: {expectation}.")


def _reason(expectation: str, field: str | None) -> Reason:
    if expectation.startswith("Number out of range"):
        return Reason.NOT_FINITE
    if field == "ts":
        return Reason.BAD_TIMESTAMP
    if "` <= " in expectation or "` >= " in expectation or " of length " in expectation:
        return Reason.OUT_OF_RANGE
    return Reason.WRONG_TYPE


def _shown(body: bytes, field: str) -> str:
    try:
        value = json.dumps(json.loads(body)[field], ensure_ascii=False)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not acceptable"
    return value if len(value) <= _SHOWN_LENGTH else value[:_SHOWN_LENGTH] + "…"


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
