"""What is told when a threshold of a budget is crossed."""

import hashlib
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from gpu_token_processor.budgets.budgets import MonthStatus, Status
from gpu_token_processor.exports.months import Month, written_us
from gpu_token_processor.ledger.catalog import Budget, Dimension
from gpu_token_processor.ledger.exact import ratio, stored_us, usd
from gpu_token_processor.store.alerts import Alert

_encode = msgspec.json.Encoder(decimal_format="number").encode


def alert_id(month: Month, budget: Budget, share: Fraction) -> str:
    """Another one if the budget's amount or selector has changed: that is another threshold."""
    parts = (str(month), budget.name, budget.selector, budget.usd_per_month, share)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def selector_shown(budget: Budget) -> dict[Dimension, str]:
    """Such as {"team": "search"}; empty for a budget of everything."""
    return {} if budget.selector is None else {budget.selector.dimension: budget.selector.value}


def alert(found: MonthStatus, status: Status, share: Fraction, now: datetime) -> Alert:
    """Of a threshold that has been crossed."""
    budget, month = status.budget, found.month
    key = alert_id(month, budget, share)
    message: dict[str, Any] = {
        "text": _sentence(month, status, share),
        "id": key,
        "budget": budget.name,
        "selector": selector_shown(budget),
        "month": str(month),
        "threshold_share": ratio(share, 1),
        "limit_usd": usd(status.limit_pico),
        "spent_usd": usd(status.spent_pico),
        "spent_share": ratio(status.spent_share, 1),
        "forecast_usd": None if status.forecast_pico is None else usd(status.forecast_pico),
        "counted_until": written_us(found.upto_us),
        "crossed_at": written_us(stored_us(now)),
    }
    return Alert(key, str(month), budget.name, float(share), now, _encode(message).decode())


def _sentence(month: Month, status: Status, share: Fraction) -> str:
    """For people, in cents."""
    text = (
        f"Budget {status.budget.name} has reached {float(share * 100):.6g} % in {month}: "
        f"{_cents(status.spent_pico)} of {_cents(status.limit_pico)} USD are spent."
    )
    if status.forecast_pico is not None:
        text += f" At this rate it will be {_cents(status.forecast_pico)} USD at the end of the month."
    return text


def _cents(pico_usd: int) -> str:
    return f"{round(Decimal(pico_usd).scaleb(-12), 2):,f}"
