"""The ledger of one day or part of one, so that an export of any length takes little memory."""

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from gpu_token_processor import VERSION
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Budget, Lease
from gpu_token_processor.ledger.exact import HOURS_PER_DAY, US_PER_DAY
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.question import Basis, Question
from gpu_token_processor.rollups.view import Rollups, fill
from gpu_token_processor.store.reads import Reads


class Shape(NamedTuple):
    """How a ledger is asked; see Question."""

    group_by: tuple[str, ...]
    basis: Basis
    where: tuple[tuple[str, str], ...] = ()


class Ledgers:
    """Ledgers over whatever range, all by the catalogue that was the newest at the beginning.

    Raises pymongo's errors when MongoDB does not answer.
    """

    def __init__(self, reads: Reads, rollups: Rollups, gap_us: int, default_price_usd: Fraction) -> None:
        self._reads = reads
        self._rollups = rollups
        self._gap_us = gap_us
        self._default_price_usd = default_price_usd
        self._book = Book(reads.catalog(), default_price_usd)

    @property
    def leases(self) -> Sequence[Lease]:
        """All of the catalogue."""
        return self._book.catalog.leases

    @property
    def budgets(self) -> Sequence[Budget]:
        """Likewise."""
        return self._book.catalog.budgets

    def fingerprint(self, day: int) -> str | None:
        """Of all that the ledger of a day since 1970 depends on; None unless all its hours are counted."""
        hours = range(day * HOURS_PER_DAY, (day + 1) * HOURS_PER_DAY)
        digests = self._rollups.clean_digests(hours.start, hours.stop)
        if len(digests) < HOURS_PER_DAY:
            return None
        parts = [VERSION, self._book.catalog.version, self._gap_us, self._default_price_usd]
        parts += [digests[hour] for hour in hours]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def of(self, start_us: int, end_us: int, shape: Shape) -> Ledger:
        """Of one range, which may be empty."""
        question = Question(start_us=start_us, end_us=end_us, gap_us=self._gap_us, **shape._asdict())
        ledger = Ledger(self._book, question)
        if start_us < end_us:
            fill(ledger, self._reads, self._rollups)
        ledger.finish()
        return ledger


def days_of(start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """A range cut at midnight."""
    while start_us < end_us:
        upto_us = min(end_us, (start_us // US_PER_DAY + 1) * US_PER_DAY)
        yield start_us, upto_us
        start_us = upto_us
