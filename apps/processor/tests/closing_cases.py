"""Closings in memory, and what their exports add up to."""

import csv
import io
from collections import defaultdict
from decimal import Decimal

from gpu_token_processor.store.closings import Closing


class MemoryClosings:
    """Closings without a store."""

    def __init__(self) -> None:
        self._closings: list[Closing] = []
        self._kept: dict[tuple[str, str], bytes] = {}

    def all(self) -> list[Closing]:
        """See Closings."""
        return list(self._closings)

    def charges(self, closing: Closing, day: str) -> bytes | None:
        """See Closings."""
        return self._kept.get((closing.id, day))

    def keep(self, closing_id: str, day: str, charges: bytes) -> None:
        """See Closings."""
        assert (closing_id, day) not in self._kept
        self._kept[closing_id, day] = charges

    def publish(self, closing: Closing) -> bool:
        """See Closings."""
        if closing.number != len(self._closings):
            return False
        self._closings.append(closing)
        return True


def rows_of(text: str) -> list[dict[str, str]]:
    """Of CSV with a header."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


Sums = dict[tuple[str, ...], list[Decimal]]


def sums_of(rows: list[dict[str, str]]) -> Sums:
    """Quantity and cost of FOCUS rows by day of charge and by what was charged; nothing that is 0."""
    sums: Sums = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for row in rows:
        key = (row["ChargePeriodStart"], row["SkuId"], row["SubAccountId"], row["ConsumedUnit"])
        sums[key][0] += Decimal(row["ConsumedQuantity"])
        sums[key][1] += Decimal(row["BilledCost"])
    return {key: amounts for key, amounts in sums.items() if any(amounts)}
