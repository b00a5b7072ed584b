"""Integers in the place of floats: parts of money and tokens add up to the whole, to the last digit."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

US_PER_MS = 1_000
US_PER_SECOND = 1_000_000
US_PER_HOUR = 3_600 * US_PER_SECOND
HOURS_PER_DAY = 24
US_PER_DAY = HOURS_PER_DAY * US_PER_HOUR
PPM = 1_000_000
PICO_PER_USD = 10**12

# Before and after all times: where a range or a row is open.
EVER_US = -(10**18)
NEVER_US = 10**18

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Money beyond the digits of a float is counted all the same.
_DIGITS = Context(prec=15)


def stored_us(ts: datetime) -> int:
    """Microseconds since 1970 of an event time, cut to the millisecond, as the store keeps it.

    Runs once for each event: no way through a float or a division of timedeltas is as fast.
    """
    since = ts - _EPOCH
    return (since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000) * 1_000


def clock_hours(begins_us: int, ends_us: int) -> Iterator[tuple[int, int, int]]:
    """The clock hours of a range, by number, each with its beginning and end within the range."""
    while begins_us < ends_us:
        hour = begins_us // US_PER_HOUR
        upto_us = min(ends_us, (hour + 1) * US_PER_HOUR)
        yield hour, begins_us, upto_us
        begins_us = upto_us


@lru_cache(maxsize=4096)
def exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth."""
    return Fraction(Decimal(repr(number)))


def pico(duration_us: int | Fraction, usd_per_hour: Fraction) -> int:
    """What the time costs, in 1e-12 USD; half of one goes to the even neighbour."""
    return round(duration_us * usd_per_hour * PICO_PER_USD / US_PER_HOUR)


def pico_of_ratio(duration_us: int, usd: int, hours: int) -> int:
    """The same of a price that is given as a ratio, and many times as fast."""
    whole = hours * US_PER_HOUR
    cost, rest = divmod(duration_us * usd * PICO_PER_USD, whole)
    return cost + (2 * rest > whole or (2 * rest == whole and cost % 2 == 1))


def usd(pico_usd: int) -> Decimal:
    """USD, with as many of twelve digits behind the point as it takes."""
    return _written(Decimal(pico_usd).scaleb(-12))


def ratio(numerator: int | Fraction, denominator: int) -> Decimal:
    """The quotient to fifteen digits."""
    exactly = Fraction(numerator) / denominator
    return _written(_DIGITS.divide(Decimal(exactly.numerator), Decimal(exactly.denominator)))


def seconds(duration_us: int) -> Decimal:
    """Seconds of microseconds, without rounding."""
    return _written(Decimal(duration_us).scaleb(-6))


def _written(number: Decimal) -> Decimal:
    """Without zeros at the end, and with a point: 32.0, neither 32.000 nor 3.2E+1."""
    text = f"{number:f}"
    if "." not in text:
        return Decimal(text + ".0")
    text = text.rstrip("0")
    return Decimal(text + "0" if text.endswith(".") else text)


def divide(amount: int, weights: Sequence[int | Fraction], whole: int | Fraction) -> list[int]:
    """The amount in parts by weight, of a whole that is at least their sum and more than 0.

    Each part is the difference of two rounded-down running sums. So the parts of weights that make
    up the whole add up to the amount.
    """
    parts = []
    below = 0
    running: int | Fraction = 0
    for weight in weights:
        running += weight
        upto = amount * running // whole
        parts.append(int(upto) - below)
        below = int(upto)
    return parts
