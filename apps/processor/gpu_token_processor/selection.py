"""Which events a question is about."""

from datetime import datetime
from typing import NamedTuple


class Range(NamedTuple):
    """Event time from `start`, up to but without `end`; None is open."""

    start: datetime | None = None
    end: datetime | None = None


class Selection(NamedTuple):
    """Which events; None selects all."""

    host: str | None = None
    gpu_index: int | None = None
    model: str | None = None
