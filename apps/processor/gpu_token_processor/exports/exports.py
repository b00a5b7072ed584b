"""What is exported, in parts, each of which takes little time and memory."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction

from gpu_token_contracts import moment
from gpu_token_contracts.bounds import MAX_INTERVAL_SECONDS

from gpu_token_processor.api.models import RatesAnswer
from gpu_token_processor.exports.bills import Bills
from gpu_token_processor.exports.cost_rows import cost_rows
from gpu_token_processor.exports.days import Ledgers, Shape, days_of
from gpu_token_processor.exports.focus import focus_header, focus_text
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.catalog import Lease
from gpu_token_processor.ledger.exact import US_PER_DAY, US_PER_HOUR, US_PER_SECOND, stored_us
from gpu_token_processor.ledger.rates import rates_answer
from gpu_token_processor.ledger.written import csv_header, csv_text
from gpu_token_processor.rollups.view import Rollups
from gpu_token_processor.store.closings import Closing, Closings
from gpu_token_processor.store.reads import Reads

_RATES_DAYS = 7
# How far events reach beyond the hours of their own times: intervals back, readings ahead.
_BACK_US = MAX_INTERVAL_SECONDS * US_PER_SECOND
_AHEAD_US = US_PER_DAY


class NoParquetError(Exception):
    """The library is not there."""


class Exports:
    """Computes everything from the store. Raises pymongo's errors when MongoDB does not answer."""

    def __init__(
        self,
        reads: Reads,
        rollups: Rollups,
        gap_us: int,
        default_price_usd: Fraction,
        closings: Closings,
        hours_known: Callable[[], range] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reads = reads
        self._rollups = rollups
        self._gap_us = gap_us
        self._default_price_usd = default_price_usd
        self._closings = closings
        # From the first hour that anything is known of to the last. None: not known.
        self._hours_known = hours_known
        self._now = now

    def cost(self, start: datetime | None, end: datetime | None, shape: Shape) -> Iterator[str]:
        """CSV of the rows of /cost by day, up to now.

        Without bounds it is about the running month, up to the last full hour.
        """
        return self._cost(*self._range(start, end), shape)

    def cost_parquet(self, start: datetime | None, end: datetime | None, shape: Shape) -> Iterator[bytes]:
        """The same rows as Parquet. Raises NoParquetError."""
        try:
            # Takes 60 MiB of memory, and most images do not have it.
            from gpu_token_processor.exports.parquet import parquet_parts
        except ModuleNotFoundError as error:
            raise NoParquetError from error
        return parquet_parts(shape.group_by, self._cost_days(*self._range(start, end), shape))

    def close(self, month: Month) -> Closing:
        """Bill a month for good. Raises ClosingError."""
        return self._bills().close(month)

    def focus(self, month: str | None) -> Iterator[str]:
        """CSV in FOCUS's columns of what a month is billed. Raises ValueError for what is no month."""
        billed = Month.of(stored_us(self._now())) if month is None else Month.parse(month)
        return self._focus(billed)

    def rates(self, start: datetime | None, end: datetime | None) -> RatesAnswer:
        """Of hours that are over, and lie in the range as a whole."""
        upto_us = self._upto_us()
        end_us = upto_us if end is None else min(upto_us, stored_us(end) // US_PER_HOUR * US_PER_HOUR)
        start_us = end_us - _RATES_DAYS * US_PER_DAY
        if start is not None:
            start_us = -(-stored_us(start) // US_PER_HOUR) * US_PER_HOUR
        return rates_answer(self._ledgers().of(start_us, max(start_us, end_us), Shape(("model",), "covered")))

    def _ledgers(self) -> Ledgers:
        return Ledgers(self._reads, self._rollups, self._gap_us, self._default_price_usd)

    def _range(self, start: datetime | None, end: datetime | None) -> tuple[int, int]:
        end_us = self._upto_us() if end is None else min(stored_us(end), stored_us(self._now()))
        return Month.of(end_us - 1).start_us if start is None else stored_us(start), end_us

    def _cost(self, start_us: int, end_us: int, shape: Shape) -> Iterator[str]:
        days = self._cost_days(start_us, end_us, shape)
        yield from _under(csv_text([csv_header(shape.group_by)]), map(csv_text, days))

    def _cost_days(self, start_us: int, end_us: int, shape: Shape) -> Iterator[Iterator[Sequence[object]]]:
        # A generator: nothing is read before its first part is asked for.
        ledgers = self._ledgers()
        for begins_us, ends_us in days_of(*self._part_with_rows(start_us, end_us, ledgers.leases, shape)):
            yield cost_rows(ledgers.of(begins_us, ends_us, shape), (moment(begins_us), moment(ends_us)))

    def _part_with_rows(
        self, start_us: int, end_us: int, leases: Sequence[Lease], shape: Shape
    ) -> tuple[int, int]:
        """The days of the range on which something may have cost."""
        if self._hours_known is None:
            return start_us, end_us
        spans = []
        if hours := self._hours_known():
            spans.append((hours.start * US_PER_HOUR - _BACK_US, hours.stop * US_PER_HOUR + _AHEAD_US))
        if shape.basis == "leased":
            for lease in leases:
                since_us = start_us if lease.valid_from_us is None else lease.valid_from_us
                spans.append((since_us, end_us if lease.valid_to_us is None else lease.valid_to_us))
        if not spans:
            return start_us, start_us
        first_day = min(since_us for since_us, _ in spans) // US_PER_DAY
        upto_day = -(-max(upto_us for _, upto_us in spans) // US_PER_DAY)
        return max(start_us, first_day * US_PER_DAY), min(end_us, upto_day * US_PER_DAY)

    def _focus(self, month: Month) -> Iterator[str]:
        bills = self._bills().of(month)
        yield from _under(focus_header(), (focus_text(month, bill) for bill in bills))

    def _bills(self) -> Bills:
        return Bills(self._ledgers, self._closings, self._now())

    def _upto_us(self) -> int:
        """Where the hours end that are over."""
        return stored_us(self._now()) // US_PER_HOUR * US_PER_HOUR


def _under(header: str, texts: Iterator[str]) -> Iterator[str]:
    """The header comes with the first text: what fails then has sent nothing yet."""
    yield header + next(texts, "")
    yield from texts
