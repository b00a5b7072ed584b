"""Prometheus' text format, read by its own client library."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_MAX_SAMPLES: Final = 100_000
_MAX_SHOWN: Final = 120


class Sample(NamedTuple):
    """One line of an exposition. The value may be NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


class NotAnExposition(ValueError):
    """The text is not in Prometheus' format; the message says where."""


def parse(text: str, wanted: frozenset[str]) -> Iterator[Sample]:
    """The samples whose names are wanted, in the order of the text. Raises NotAnExposition.

    The library reads only their lines: of an engine's exposition, nearly all are histogram buckets.
    """
    lines = _lines_of(wanted).findall(text)
    if len(lines) > _MAX_SAMPLES:
        raise NotAnExposition(
            f"shows {len(lines)} series of what is read here; at most {_MAX_SAMPLES} can be"
        )
    try:
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                yield Sample(sample.name, sample.labels, sample.value)
    except (ValueError, IndexError) as error:
        # The library's words may hold the whole line.
        reason = " ".join(ascii(str(error))[1:-1][:_MAX_SHOWN].split())
        raise NotAnExposition(f"has a line that is not in Prometheus' format ({reason})") from error


def looks_like_one(text: str) -> bool:
    """Whether any line is a sample. A page of HTML, or an empty answer, is none."""
    return _ANY_SAMPLE.search(text) is not None


_ANY_SAMPLE = re.compile(r"^[ \t]*[a-zA-Z_:][\w:]*(\{[^\n]*\})?[ \t]+[-+0-9NnIi.]", re.MULTILINE)


@lru_cache(maxsize=64)
def _lines_of(wanted: Iterable[str]) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted(wanted))
    return re.compile(rf"^[ \t]*(?:{names})[ \t{{][^\n]*", re.MULTILINE)
