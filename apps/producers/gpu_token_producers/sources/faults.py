"""What pydantic finds in sources.yml, as sentences that name the entry, the value and the remedy."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_URL: Final = "begin with http:// or https://, such as http://10.0.0.5:8000/metrics"
# By pydantic's kind of fault; its own words are for programmers.
_REMEDIES: Final[Mapping[str, str]] = {
    "missing": "it is not given",
    "extra_forbidden": "there is no such key; check its spelling",
    "tuple_type": "give a list, such as [a, b]",
    "dict_type": "give keys with values, such as {{key: value}}",
    "model_type": "give keys with values, such as {{key: value}}",
    "model_attributes_type": "give a mapping with name, type and so on",
    "string_type": "give a text, and put a number or a date into quotes",
    "invalid_key": "a key is a text: put it into quotes",
    "string_pattern_mismatch": (
        "begin with a letter or a digit, and use up to 64 letters, digits, dots, dashes and underscores"
    ),
    "float_type": "give a number",
    "float_parsing": "give a number",
    "finite_number": "give a number",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "greater_than": "give more than {gt:g}",
    "greater_than_equal": "give at least {ge:g}",
    "less_than": "give less than {lt:g}",
    "less_than_equal": "give at most {le:g}",
    "literal_error": "give one of {expected}",
    "string_too_short": "it is empty; give a text or leave it out",
    "string_too_long": "give at most {max_length} characters",
    "too_short": "it is empty; list at least one",
    "too_long": "it has too many; give at most {max_length}",
    "url_scheme": _URL,
    "url_type": _URL,
    "path_type": "give the path of a file",
}


def sentences(
    path: Path, content: Mapping[str, Any], error: ValidationError, types: Sequence[str]
) -> Iterator[str]:
    """One for each fault. `types` are those that a source may have."""
    faults = error.errors()
    if any(fault["loc"] == ("producers_sources",) for fault in faults):
        # All else follows from that.
        yield f"{path}: producers_sources: in this file it is called sources."
        return
    for fault in faults:
        # Where an item has a fault, pydantic says besides that its list is too short without it.
        within = [each["loc"] for each in faults if len(each["loc"]) > len(fault["loc"])]
        if fault["type"] == "too_short" and any(loc[: len(fault["loc"])] == fault["loc"] for loc in within):
            continue
        yield _sentence(path, content, fault, types)


def _sentence(path: Path, content: Mapping[str, Any], fault: ErrorDetails, types: Sequence[str]) -> str:
    named = _named(content, fault, types)
    shown, message = _shown(fault), _message(fault)
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        named += ".type"
        tag = fault.get("ctx", {}).get("tag")
        given = tag is not None and tag != "None"
        shown = f" is {tag!r}" if given else " is not given"
        message = f"give one of {', '.join(sorted(types))}"
    where = f"{path}: {named}{shown}: " if named else f"{path}: "
    return f"{where}{message[:1].lower()}{message[1:]}.".replace("..", ".")


def _named(content: Mapping[str, Any], fault: ErrorDetails, types: Sequence[str]) -> str:
    where = [part for part in fault["loc"] if part != "[key]"]
    if len(where) < 2 or where[0] != "sources" or not isinstance(where[1], int):
        return ".".join(str(part) for part in where)
    entry = content["sources"][where[1]]
    name = entry.get("name") if isinstance(entry, dict) else None
    # Pydantic names the kind of source between the entry and its key.
    keys = where[3:] if len(where) > 2 and where[2] in types else where[2:]
    return ".".join(str(part) for part in [name or f"entry {where[1] + 1}", *keys])


def _message(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if isinstance(fault["input"], float) and not math.isfinite(fault["input"]):
        return "give a number"
    if fault["type"] == "url_parsing":
        wrong = str(context.get("error", ""))
        return _URL if wrong in _NO_SCHEME else f"it is no URL ({wrong}): {_URL}"
    if fault["type"] in _REMEDIES:
        return _REMEDIES[fault["type"]].format(**context)
    return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


_MAX_SHOWN: Final = 100
_NO_SCHEME: Final = frozenset({"relative URL without a base", "input is empty"})


def _shown(fault: ErrorDetails) -> str:
    given = fault["input"]
    if not isinstance(given, str | int | float) or fault["type"] == "extra_forbidden":
        return ""
    # A password may stand before it.
    if "@" in str(given):
        return ""
    value = repr(given)
    return f" is {value}" if len(value) <= _MAX_SHOWN else f" is {value[:_MAX_SHOWN]}…"
