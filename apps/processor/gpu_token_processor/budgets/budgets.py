"""How much of each budget a month has spent, and what it will have spent at its end."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol

from gpu_token_processor.budgets.forecast import forecast_pico, lately
from gpu_token_processor.budgets.spent import RangeLedgers, spent, total
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.catalog import Budget
from gpu_token_processor.ledger.exact import PICO_PER_USD, US_PER_HOUR

State = Literal["within", "warning", "exceeded"]


class BudgetLedgers(RangeLedgers, Protocol):
    """See Ledgers."""

    @property
    def budgets(self) -> Sequence[Budget]: ...


class Status(NamedTuple):
    """One budget in one month; money in 1e-12 USD."""

    budget: Budget
    spent_pico: int
    # None: no hour of the month is over yet.
    forecast_pico: int | None

    @property
    def limit_pico(self) -> int:
        """What the month may cost."""
        return round(self.budget.usd_per_month * PICO_PER_USD)

    @property
    def spent_share(self) -> Fraction:
        """Of the limit."""
        return self.spent_pico / (self.budget.usd_per_month * PICO_PER_USD)

    @property
    def crossed(self) -> list[Fraction]:
        """The thresholds that have been reached, ascending."""
        return [share for share in self.budget.thresholds if share <= self.spent_share]

    @property
    def state(self) -> State:
        """`exceeded` from the limit on, `warning` from the first threshold on."""
        if self.spent_share >= 1:
            return "exceeded"
        return "warning" if self.crossed else "within"


class MonthStatus(NamedTuple):
    """All budgets of a month."""

    month: Month
    # Where the hours end that are over and lie in the month, in microseconds since 1970.
    upto_us: int
    statuses: list[Status]


class Budgets:
    """Computes everything from the store. Raises pymongo's errors when MongoDB does not answer."""

    def __init__(self, ledgers: Callable[[], BudgetLedgers], hours_of_events: Callable[[], range]) -> None:
        self._ledgers = ledgers
        self._hours_of_events = hours_of_events

    def of(self, month: Month, now_us: int) -> MonthStatus:
        """Budgets that hold now, or that held at the end of a month that is over."""
        upto_us = max(month.start_us, min(month.end_us, now_us - now_us % US_PER_HOUR))
        ledgers = self._ledgers()
        at_us = min(now_us, month.end_us - 1)
        budgets = sorted((one for one in ledgers.budgets if one.holds(at_us)), key=lambda one: one.name)
        if not budgets:
            return MonthStatus(month, upto_us, [])
        of_late = lately(self._since_us(month, upto_us), upto_us)
        spent_of_late = spent(ledgers, *of_late)
        spent_before = spent(ledgers, month.start_us, of_late.start_us)
        spent_after = spent(ledgers, of_late.end_us, upto_us)
        spent_in_all = total((spent_before, spent_of_late, spent_after))
        statuses = []
        for budget in budgets:
            spent_pico = spent_in_all.of(budget.selector)
            of_late_pico = spent_of_late.of(budget.selector)
            foreseen_pico = forecast_pico(spent_pico, of_late_pico, of_late, month.end_us - upto_us)
            statuses.append(Status(budget, spent_pico, foreseen_pico))
        return MonthStatus(month, upto_us, statuses)

    def _since_us(self, month: Month, upto_us: int) -> int:
        """Where the month begins, or the first event's hour if that is later: nothing was measured before."""
        hours = self._hours_of_events()
        return max(month.start_us, min(upto_us, hours.start * US_PER_HOUR)) if hours else month.start_us
