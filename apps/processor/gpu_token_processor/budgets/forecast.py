"""What a month will cost if it goes on as of late. The rule stands in docs/budgets.md."""

from fractions import Fraction
from typing import NamedTuple

from gpu_token_processor.ledger.exact import US_PER_DAY

_DAYS = 7


class Lately(NamedTuple):
    """The time whose mean cost is taken for the rest of the month, in microseconds since 1970."""

    start_us: int
    end_us: int


def lately(since_us: int, upto_us: int) -> Lately:
    """The last seven full days of the time from `since_us` to `upto_us`, or all of it if it has fewer."""
    today_us = upto_us - upto_us % US_PER_DAY
    week = Lately(today_us - _DAYS * US_PER_DAY, today_us)
    return week if since_us <= week.start_us else Lately(since_us, upto_us)


def forecast_pico(spent_pico: int, of_late_pico: int, of_late: Lately, left_us: int) -> int | None:
    """What will have been spent when `left_us` are over, in 1e-12 USD; None where there is no time to go by.

    It is `spent_pico` if nothing is left.
    """
    lasted_us = of_late.end_us - of_late.start_us
    if not lasted_us:
        return None
    return spent_pico + round(Fraction(of_late_pico * left_us, lasted_us))
