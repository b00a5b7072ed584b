"""Pydantic's errors in the words of fleet.yml: one sentence each, with the place and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fleet.shape import DeadLetters, Fleet, Flow, Images, Load, Network, Retention, Role, Topic, Topics

LONGEST_VALUE = 80
"""Characters of a wrong value that are shown."""

_PATTERN_MEANING = {
    "roles": "write role names in small letters only (a-z)",
    "outside": "write names of networks in small letters, digits and underscores",
    "ports": "write port names in small letters, digits and underscores",
    "project": "use at most 30 small letters, digits and hyphens, a letter first",
    "instance_type": "write it as AWS does, for example t3.small",
    "name": "use letters, digits, dots, underscores and hyphens, at most 245",
    "images": "write it as repository:tag, for example mongo:7.0, with or without @sha256: and 64 digits",
}


def from_validation(error: ValidationError) -> list[str]:
    """One sentence for each error that pydantic found."""
    return [_printable(_sentence(detail)) for detail in error.errors()]


def _sentence(detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    place = _place(detail["loc"])
    if kind == "extra_forbidden":
        return f"{place} is an unknown key: remove it, or use one of {', '.join(_known_keys(detail['loc']))}."
    if kind == "missing":
        return f"{place} is missing: add it."
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = detail["ctx"]["ge" if kind == "greater_than_equal" else "le"]
        side = "at least" if kind == "greater_than_equal" else "at most"
        number = "number" if isinstance(bound, float) else "whole number"
        return f"{place} is {_shown(value)}: give a {number} of {side} {bound:g}."
    if kind.startswith("int_"):
        return f"{place} is {_shown(value)}: give a whole number."
    if kind in ("float_type", "float_parsing", "finite_number"):
        return f"{place} is {_shown(value)}: give a number."
    if kind.startswith("ip_v4_network"):
        return (
            f"{place} is {_shown(value)}, which is no IPv4 network: "
            "write the network's own address and a prefix, for example 10.0.1.0/24."
        )
    if kind.startswith("ip_v4_address"):
        return f"{place} is {_shown(value)}, which is no IPv4 address: write one like 10.0.1.20."
    if kind == "string_pattern_mismatch":
        return f"{place} is {_shown(value)}: {_pattern_meaning(detail['loc'])}."
    if kind == "too_short":
        return f"{place} is empty: give at least one."
    if kind == "string_type":
        return f"{place} is {_shown(value)}: give a text."
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{place} is {_shown(value)}: give keys and values."
    if kind == "tuple_type":
        return f"{place} is {_shown(value)}: give a list."
    return f"{place} is {_shown(value)}: {detail['msg']}."


def _place(loc: tuple[int | str, ...]) -> str:
    """The error's place as a reader of the file would say it, lists counted from 1."""
    if loc[-1:] == ("[key]",):
        loc = loc[:-1]
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f", entry {part + 1}"
        else:
            text += f"{'.' if text and not text[-1].isdigit() else ', ' if text else ''}{part}"
    return text or "fleet.yml"


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    owners: Mapping[str, type[BaseModel]] = {
        "network": Network,
        "roles": Role,
        "flows": Flow,
        "topics": Topics if len(loc) == 2 else Topic,
        "dead_letters": DeadLetters,
        "retention": Retention,
        "load_events_per_second": Load,
        "images": Images,
    }
    model = owners.get(str(loc[0]), Fleet) if len(loc) > 1 else Fleet
    return [field.alias or name for name, field in model.model_fields.items()]


def _pattern_meaning(loc: tuple[int | str, ...]) -> str:
    for part in reversed(loc):
        if part in _PATTERN_MEANING:
            return _PATTERN_MEANING[str(part)]
    raise KeyError(f"no meaning is written down for the pattern of {loc}")


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else "empty" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
