"""Reads the fields of one entry of CATALOG.yml. What is not right is refused with one sentence."""

import re
import reprlib
from collections import Counter
from collections.abc import Collection, Hashable
from datetime import UTC, date, datetime, time
from fractions import Fraction
from typing import Any, TypeGuard, TypeVar

from gpu_token_contracts.bounds import MAX_GPU_INDEX, MAX_TEXT_LENGTH
from gpu_token_contracts.timestamps import format_ts, moment

from gpu_token_processor.ledger import exact as exactly

T = TypeVar("T", bound=str)

MAX_GPUS = 1024
# Beyond all prices, powers and weights.
_MAX_NUMBER = 10**12
# Of a budget; above it a percentage may be meant.
_MAX_THRESHOLD = 10
_UNREADABLE = 10**100
_SHARE = re.compile(r"\d{1,6}/(?=0*[1-9])\d{1,6}", flags=re.ASCII)
_TEXT_REMEDY = (
    f"give a text of 1 to {MAX_TEXT_LENGTH} characters without NUL, in quotes if it looks like something else"
)
_TIME_REMEDY = "give a time from 1970 on, with its zone, such as 2026-01-01T12:00:00Z"


class _Short(reprlib.Repr):
    """Values as YAML writes them, cut to a readable length."""

    def repr_date(self, value: date, _level: int) -> str:
        return str(value)

    repr_datetime = repr_date

    def repr_int(self, value: int, level: int) -> str:
        # Python prints no number of thousands of digits.
        return super().repr_int(value, level) if abs(value) < _UNREADABLE else "a number of many digits"


_short = _Short()
_short.maxstring = _short.maxother = 80
_short.maxlevel = 2


class CatalogError(ValueError):
    """One sentence: the section, the row, the field, its value and the remedy."""


def shown(value: Any) -> str:
    """A value in a sentence, cut to a readable length."""
    return _short.repr(value)


class Entry:
    """A mapping whose fields are read one by one. null is the same as absent."""

    def __init__(self, where: str, data: Any, fields: Collection[str]) -> None:
        self.where = where
        if not isinstance(data, dict):
            raise CatalogError(f"{where} is {shown(data)}: give a mapping with {', '.join(fields)}.")
        for name in data:
            if name not in fields:
                raise self.refused(f"{shown(name)} is no field", f"use {', '.join(fields)}")
        self._data = {name: value for name, value in data.items() if value is not None}

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._data

    def refused(self, what: str, remedy: str) -> CatalogError:
        """The error that says so of this entry."""
        return CatalogError(f"{self.where}: {what}: {remedy}.")

    def raw(self, name: str) -> Any:
        """As it stands in the file; None if it is absent."""
        return self._data.get(name)

    def text(self, name: str) -> str | None:
        """A text, if there is one."""
        value = self.raw(name)
        return None if value is None else self._text(name, value)

    def required_text(self, name: str) -> str:
        """A text that must be there."""
        return self._text(name, self._required(name, _TEXT_REMEDY))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, none of them twice; empty if it is absent."""
        values = tuple(self._text(name, value) for value in self.items(name))
        self.refuse_twice(name, values)
        return values

    def items(self, name: str) -> list[Any]:
        """A list; empty if it is absent."""
        values = self._data.get(name, [])
        if isinstance(values, list):
            return values
        raise self.refused(f"{name} is {shown(values)}", "give a list, such as [a, b]")

    def refuse_twice(self, name: str, values: Collection[Hashable]) -> None:
        """Raise CatalogError if a value stands twice."""
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            raise self.refused(f"{name} has {twice[0]} twice", "keep one")

    def choice(self, name: str, choices: Collection[T], default: T) -> T:
        """One of a few words."""
        value = self.raw(name)
        for choice in choices:
            if value == choice:
                return choice
        if value is None:
            return default
        raise self.refused(f"{name} is {shown(value)}", f"give one of {', '.join(choices)}")

    def number(
        self, name: str, default: int | None = None, *, least: int = 0, most: int = _MAX_NUMBER
    ) -> Fraction:
        """A number, exactly as it is printed. Without a default it must be there."""
        remedy = f"give a number from {least} to {most}"
        value = self._required(name, remedy) if default is None else self._data.get(name, default)
        number = exact(value)
        if number is None or not least <= number <= most:
            raise self.refused(f"{name} is {shown(value)}", remedy)
        return number

    def positive(self, name: str) -> Fraction:
        """A number above 0 that must be there."""
        number = self.number(name)
        if not number:
            raise self.refused(f"{name} is 0", "give a number above 0")
        return number

    def gpus(self, name: str) -> int | None:
        """How many GPUs, if it is said."""
        return self._whole(name, 1, MAX_GPUS)

    def gpu_index(self) -> int | None:
        """A GPU's index on its host, if it is said."""
        return self._whole("gpu_index", 0, MAX_GPU_INDEX)

    def share(self, name: str) -> Fraction:
        """A part of a whole, as a number or as 1/3; all of it if it is absent."""
        value = self._data.get(name, 1)
        part = exact(value)
        if isinstance(value, str) and _SHARE.fullmatch(value):
            part = Fraction(value)
        if part is None or not 0 < part <= 1:
            raise self.refused(
                f"{name} is {shown(value)}", "give a number above 0, up to 1, or a part such as 1/3"
            )
        return part

    def thresholds(self, name: str, default: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
        """Shares of a budget, none of them twice; they may lie above 1, and be none."""
        if not self.has(name):
            return default
        values = self.items(name)
        shares = [exact(value) for value in values]
        for value, share in zip(values, shares, strict=True):
            if share is None or not 0 < share <= _MAX_THRESHOLD:
                raise self.refused(
                    f"{name} has {shown(value)}",
                    f"give shares of the budget above 0, up to {_MAX_THRESHOLD}, such as [0.8, 1.0]",
                )
        self.refuse_twice(name, values)
        return tuple(share for share in shares if share is not None)

    def dates(self, begin: str = "valid_from", end: str = "valid_to") -> dict[str, int | None]:
        """From when to when the entry holds, as fields of Dated."""
        valid_from_us, valid_to_us = self._time_us(begin), self._time_us(end)
        if valid_from_us is not None and valid_to_us is not None and valid_to_us <= valid_from_us:
            raise self.refused(
                f"{end} is {shown(self.raw(end))}, which is not after {begin} {shown(self.raw(begin))}",
                f"give {end} a later time",
            )
        return {"valid_from_us": valid_from_us, "valid_to_us": valid_to_us}

    def _required(self, name: str, remedy: str) -> Any:
        if name not in self._data:
            raise self.refused(f"{name} is missing", remedy)
        return self._data[name]

    def _text(self, name: str, value: Any) -> str:
        if is_text(value):
            return value
        raise self.refused(f"{name} is {shown(value)}", _TEXT_REMEDY)

    def _whole(self, name: str, least: int, most: int) -> int | None:
        value = self.raw(name)
        if value is None or (type(value) is int and least <= value <= most):
            return value
        raise self.refused(f"{name} is {shown(value)}", f"give a whole number from {least} to {most}")

    def _time_us(self, name: str) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        time = _time(value)
        if time is None:
            raise self.refused(f"{name} is {shown(value)}", _TIME_REMEDY)
        return exactly.stored_us(time)


def at(us: int | None, otherwise: str) -> str:
    """A time in a sentence."""
    return otherwise if us is None else format_ts(moment(us))


def _time(value: Any) -> datetime | None:
    """YAML's times and dates without a zone are UTC, as YAML says; a text must name its zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
        if value.tzinfo is None:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    # A year's distance from the ends of the calendar, where zones would lead out of it.
    return value if 1970 <= value.year < 9999 and exactly.stored_us(value) >= 0 else None


def exact(value: Any) -> Fraction | None:
    """The decimal that a number prints as; None for what is no number."""
    if type(value) is int:
        return Fraction(value)
    if type(value) is float and value == value and abs(value) != float("inf"):
        return exactly.exact(value)
    return None


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a text that can be kept: without NUL, and without half of a surrogate pair."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_LENGTH or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
