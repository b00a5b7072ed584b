"""Months and days in UTC."""

import re
from datetime import UTC, date, datetime
from typing import NamedTuple

from gpu_token_contracts import moment

from gpu_token_processor.ledger.exact import US_PER_DAY, stored_us

MONTH_PATTERN = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"


class Month(NamedTuple):
    """A month of the calendar; months sort in order of time."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Of a text such as 2026-10. Raises ValueError."""
        if not re.fullmatch(MONTH_PATTERN, text, flags=re.ASCII):
            raise ValueError("must be a month such as 2026-10")
        return cls(int(text[:4]), int(text[5:]))

    @classmethod
    def of(cls, us: int) -> "Month":
        """The month of a moment in microseconds since 1970."""
        day = moment(us)
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year}-{self.number:02}"

    @property
    def next(self) -> "Month":
        """The month behind it."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def start_us(self) -> int:
        """Its first moment, in microseconds since 1970."""
        return stored_us(datetime(self.year, self.number, 1, tzinfo=UTC))

    @property
    def end_us(self) -> int:
        """The first moment behind it."""
        return self.next.start_us

    @property
    def days(self) -> range:
        """Its days, by the days since 1970."""
        return range(self.start_us // US_PER_DAY, self.end_us // US_PER_DAY)


def written_day(day: int) -> str:
    """A day since 1970 as 2026-10-05."""
    return moment(day * US_PER_DAY).date().isoformat()


def parse_day(text: str) -> int:
    """The inverse."""
    return date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()


def written_us(us: int) -> str:
    """A moment as RFC 3339."""
    return moment(us).isoformat().replace("+00:00", "Z")
