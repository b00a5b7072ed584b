"""What GPUs cost over a range: in all, and by team, model and deployment."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, get_args

from gpu_token_processor.exports.days import Shape, days_of
from gpu_token_processor.ledger.catalog import Dimension, Scope
from gpu_token_processor.ledger.ledger import Ledger

_DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
# All that GPUs cost, as the invoice has it: leased time that no reading covers too.
_SHAPE = Shape(_DIMENSIONS, "leased")


class RangeLedgers(Protocol):
    """See Ledgers."""

    def of(self, start_us: int, end_us: int, shape: Shape) -> Ledger: ...


@dataclass(frozen=True, slots=True)
class Spent:
    """Money in 1e-12 USD."""

    # Idle time included, which is in none of the others.
    all_pico: int
    by_scope: Mapping[Scope, int]

    def of(self, selector: Scope | None) -> int:
        """What rows of this team, model or deployment cost; None: everything."""
        return self.all_pico if selector is None else self.by_scope.get(selector, 0)


def spent(ledgers: RangeLedgers, start_us: int, end_us: int) -> Spent:
    """From `start_us` to before `end_us`, in microseconds since 1970. Raises pymongo's errors."""
    # Day by day, so that it takes little memory and can rest in between.
    return total(_of_ledger(ledgers.of(*bounds, _SHAPE)) for bounds in days_of(start_us, end_us))


def total(parts: Iterable[Spent]) -> Spent:
    """Of several ranges."""
    all_pico = 0
    by_scope: Counter[Scope] = Counter()
    for part in parts:
        all_pico += part.all_pico
        by_scope.update(part.by_scope)
    return Spent(all_pico, by_scope)


def _of_ledger(ledger: Ledger) -> Spent:
    totals = ledger.totals()
    all_pico = sum(idle.total_pico for idle in totals.idle.values())
    by_scope: Counter[Scope] = Counter()
    for (_, key), row in totals.rows.items():
        cost_pico = sum(row.cost_pico)
        all_pico += cost_pico
        for dimension, value in zip(_DIMENSIONS, key, strict=True):
            if value is not None:
                by_scope[Scope(dimension, value)] += cost_pico
    return Spent(all_pico, by_scope)
