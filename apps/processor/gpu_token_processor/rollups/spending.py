"""What hours cost that have ended since the processor started, as counters, which only ever grow."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from gpu_token_processor.exports.days import Ledgers, Shape
from gpu_token_processor.ledger.cells import CLASSES
from gpu_token_processor.ledger.exact import PICO_PER_USD, US_PER_HOUR, stored_us
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.metrics import Metrics

# Events that come later than this change no counter.
_LATE_HOURS = 48
_SHAPE = Shape(("model",), "covered")
_COST = "cost"


class Label(NamedTuple):
    """A model, and a class of tokens or their cost."""

    model: str
    kind: str


# Tokens, or 1e-12 USD.
Amounts = Mapping[Label, int]


class CountedHours(Protocol):
    """What the store keeps of hours; see MongoRollups."""

    def clean_digests(self, first: int, upto: int) -> dict[int, str]: ...


class Spending:
    """The counters of one processor. Used by one thread."""

    def __init__(
        self,
        hours: CountedHours,
        ledgers: Callable[[], Ledgers],
        metrics: Metrics,
        started: datetime | None = None,
    ) -> None:
        self._hours = hours
        self._ledgers = ledgers
        self._metrics = metrics
        # Earlier hours are in the counters of the process before.
        self._first = stored_us(started or datetime.now(UTC)) // US_PER_HOUR
        self._known: dict[int, tuple[str, Amounts]] = {}
        # What is to be added to a counter; below zero after a correction, until as much has come again.
        self._due: dict[Label, int] = defaultdict(int)

    def look(self, now: datetime) -> None:
        """Add what hours cost that have been counted since. Raises pymongo's errors."""
        this_hour = stored_us(now) // US_PER_HOUR
        first = max(self._first, this_hour - _LATE_HOURS)
        self._known = {hour: known for hour, known in self._known.items() if hour >= first}
        if first >= this_hour:
            return
        digests = self._hours.clean_digests(first, this_hour)
        changed = [hour for hour in sorted(digests) if self._digest(hour) != digests[hour]]
        if not changed:
            return
        ledgers = self._ledgers()
        for hour in changed:
            found = _amounts(ledgers.of(hour * US_PER_HOUR, (hour + 1) * US_PER_HOUR, _SHAPE))
            before = self._known[hour][1] if hour in self._known else {}
            for label in {*found, *before}:
                self._due[label] += found.get(label, 0) - before.get(label, 0)
            self._known[hour] = digests[hour], found
        self._grow()

    def _digest(self, hour: int) -> str | None:
        return self._known[hour][0] if hour in self._known else None

    def _grow(self) -> None:
        for label, amount in self._due.items():
            if amount <= 0:
                continue
            if label.kind == _COST:
                self._metrics.cost_usd.labels(label.model).inc(amount / PICO_PER_USD)
            else:
                self._metrics.tokens.labels(label.model, label.kind).inc(amount)
            self._due[label] = 0


def _amounts(ledger: Ledger) -> Amounts:
    found: dict[Label, int] = {}
    for (_, (model,)), row in ledger.totals().rows.items():
        assert model is not None, "usage always names its model"
        found[Label(model, _COST)] = sum(row.cost_pico)
        found |= {Label(model, name): count for name, count in zip(CLASSES, row.tokens, strict=True)}
    return found
