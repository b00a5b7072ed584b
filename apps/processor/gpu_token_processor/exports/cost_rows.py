"""The rows of /cost by day: rows and idle time add up to the total."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from gpu_token_processor.ledger.exact import PPM, ratio, usd
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.totals import Idle, Row
from gpu_token_processor.ledger.usage import none_first
from gpu_token_processor.ledger.written import USED, csv_idle_line


def cost_rows(ledger: Ledger, bounds: tuple[datetime, datetime]) -> Iterator[Sequence[object]]:
    """In the columns of csv_header, of a ledger without steps over a day or part of one, with its bounds.

    Empty cells are None.
    """
    totals = ledger.totals()
    rows = {key: row for (_, key), row in totals.rows.items()}
    for key in sorted(rows, key=none_first):
        yield [USED, *bounds, *key, *_numbers(rows[key])]
    idle = totals.idle.get(None, Idle())
    kinds = {
        "fleet_idle": idle.fleet_pico,
        "loaded_idle": idle.loaded_pico,
        "unreported": idle.unreported_pico,
    }
    for kind, cost_pico in kinds.items():
        if cost_pico:
            yield csv_idle_line(kind, bounds, usd(cost_pico), len(ledger.question.group_by))


def _numbers(row: Row) -> list[object]:
    tokens, cost_pico = sum(row.tokens), sum(row.cost_pico)
    priced = tokens - row.unpriced
    is_unpriced = tokens and not priced and not cost_pico
    return [
        *row.tokens,
        row.reasoning,
        tokens,
        row.unpriced,
        row.requests,
        None if is_unpriced else usd(cost_pico),
        ratio(cost_pico, priced * PPM) if priced else None,
    ]
