"""What a month is billed: its own charges, and corrections of closed months.

Closed months follow one another without a gap. What has changed of them since is billed in the first month
that is open: for each day, what the ledger says now less all that was billed for the day. So all that is
billed for a day makes up what the ledger says.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from bson import ObjectId

from gpu_token_processor.exports.charges import SHAPE, Charges, charges_of, difference, pack, unpack
from gpu_token_processor.exports.days import Ledgers
from gpu_token_processor.exports.months import Month, parse_day, written_day
from gpu_token_processor.ledger.exact import US_PER_DAY, US_PER_HOUR, stored_us
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.store.closings import Closing, Closings

# Closed months that began earlier are final: hours of that time may have been deleted.
CORRECTED = timedelta(days=365)


class Bill(NamedTuple):
    """What a month is billed for one day."""

    day: int
    # Of a day in a month that was closed before.
    is_correction: bool
    charges: Charges
    # See Ledgers.
    fingerprint: str | None = None


class ClosingError(ValueError):
    """The month cannot be closed; the message is one sentence."""


class Bills:
    """Bills by month, as of one moment."""

    def __init__(self, ledgers: Callable[[], Ledgers], closings: Closings, now: datetime) -> None:
        self._ledgers = ledgers
        self._closings = closings
        self._now = now
        # Hours that are over.
        self._upto_us = stored_us(now) // US_PER_HOUR * US_PER_HOUR

    def of(self, month: Month) -> Iterator[Bill]:
        """Day by day, corrections last; some have no charges, so that each takes little time."""
        closings = self._closings.all()
        closed = next((one for one in closings if one.month == str(month)), None)
        return self._as_closed(closed, month) if closed else self._as_of_now(month, closings)

    def close(self, month: Month) -> Closing:
        """Bill a month for good. Raises ClosingError."""
        closings = self._closings.all()
        self._require_next(month, closings)
        closing_id = str(ObjectId())
        days = []
        fingerprints = {}
        for bill in self._as_of_now(month, closings):
            if bill.fingerprint is not None:
                fingerprints[written_day(bill.day)] = bill.fingerprint
            if bill.charges:
                days.append(written_day(bill.day))
                self._closings.keep(closing_id, days[-1], pack(bill.charges))
        closing = Closing(len(closings), str(month), self._now, closing_id, tuple(days), fingerprints)
        if not self._closings.publish(closing):
            raise ClosingError("A month was closed at the same time: look at what is closed, and try again.")
        return closing

    def _require_next(self, month: Month, closings: list[Closing]) -> None:
        if month.end_us > self._upto_us:
            raise ClosingError(f"{month} is not over: close it when it is.")
        if not closings:
            return
        last = Month.parse(closings[-1].month)
        if month <= last:
            closed = f"{closings[0].month} to {last}"
            raise ClosingError(f"{month} cannot be closed: {closed} are closed, and {last.next} is next.")
        if month != last.next:
            raise ClosingError(f"{month} cannot be closed before {last.next}: close that first.")

    def _as_closed(self, closing: Closing, month: Month) -> Iterator[Bill]:
        for text in closing.days:
            day = parse_day(text)
            yield Bill(day, day not in month.days, self._kept(closing, text))

    def _as_of_now(self, month: Month, closings: list[Closing]) -> Iterator[Bill]:
        ledgers = self._ledgers()
        for day in month.days:
            # Before the day is counted: what changes meanwhile is found later.
            fingerprint = ledgers.fingerprint(day)
            yield Bill(day, False, charges_of(self._ledger(ledgers, day)), fingerprint)
        if not closings or month != Month.parse(closings[-1].month).next:
            return
        earliest_us = stored_us(self._now - CORRECTED)
        for closed in (Month.parse(one.month) for one in closings):
            if closed.start_us < earliest_us:
                continue
            for day in closed.days:
                fingerprint = ledgers.fingerprint(day)
                if fingerprint is not None and fingerprint == closings[-1].fingerprints.get(written_day(day)):
                    # The ledger says what it said then, and that was billed.
                    yield Bill(day, True, {}, fingerprint)
                    continue
                ledger = self._ledger(ledgers, day)
                if ledger.may_lack_events:
                    # What has been deleted is no reason to give money back.
                    yield Bill(day, True, {}, fingerprint)
                    continue
                billed = (self._kept(one, written_day(day)) for one in closings)
                yield Bill(day, True, difference(charges_of(ledger), billed), fingerprint)

    def _ledger(self, ledgers: Ledgers, day: int) -> Ledger:
        start_us = day * US_PER_DAY
        return ledgers.of(start_us, max(start_us, min(start_us + US_PER_DAY, self._upto_us)), SHAPE)

    def _kept(self, closing: Closing, day: str) -> Charges:
        data = self._closings.charges(closing, day)
        return {} if data is None else unpack(data)
