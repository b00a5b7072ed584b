"""Writes the ledger's integers as the answer that the API and the command give."""

from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec
from gpu_token_contracts import Reason, moment
from pydantic import BaseModel

from gpu_token_processor.api.models import (
    ClassCosts,
    ClassTokens,
    IdleCost,
    LedgerAmounts,
    LedgerCoverage,
    LedgerMethod,
    LedgerRow,
    LedgerStep,
)
from gpu_token_processor.ledger.book import DEFAULT_PRICE
from gpu_token_processor.ledger.exact import PPM, US_PER_SECOND, ratio, seconds, usd
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.totals import Idle, Row, RowKey, Span, Totals
from gpu_token_processor.ledger.usage import none_first

_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode_answer(answer: BaseModel) -> bytes:
    """As JSON, in which exact numbers keep all their digits."""
    return _encode(answer.model_dump())


def ledger_fields(ledger: Ledger) -> dict[str, Any]:
    """The fields of LedgerAnswer, without its window."""
    totals = ledger.totals()
    idle = Idle()
    for part in totals.idle.values():
        idle.include(part)
    total = Row()
    for row in totals.rows.values():
        total.include(row)
    return {
        "rows": [
            LedgerRow(
                key=dict(zip(ledger.question.group_by, key, strict=True)), **_amounts(ledger, span, row)
            )
            for (span, key), row in sorted(totals.rows.items(), key=_order)
        ],
        "total": LedgerAmounts(**_amounts(ledger, None, total, idle)),
        "idle": _idle(idle),
        "steps": _steps(ledger, totals) if ledger.question.step else None,
        "coverage": _coverage(ledger, totals, total),
        "method": LedgerMethod.model_validate(
            {"basis": ledger.question.basis, "classes": sorted(totals.methods), "shared_by": "hour"}
        ),
    }


def _order(entry: tuple[tuple[Span, RowKey], Row]) -> tuple[Span, tuple[tuple[bool, Any], ...]]:
    (span, key), _ = entry
    return span or (0, 0), none_first(key)


def _bounds_us(ledger: Ledger, span: Span) -> Span:
    """Those of the step within the range; None if the range has none."""
    if ledger.bounds is None or span is None:
        return ledger.bounds
    return max(ledger.bounds[0], span[0]), min(ledger.bounds[1], span[1])


def _bounds(bounds_us: Span) -> dict[str, datetime | None]:
    start, end = (None, None) if bounds_us is None else map(moment, bounds_us)
    return {"start": start, "end": end}


def _amounts(ledger: Ledger, span: Span, row: Row, idle: Idle | None = None) -> dict[str, Any]:
    tokens = sum(row.tokens)
    priced = tokens - row.unpriced
    cost_pico = sum(row.cost_pico) + (idle.total_pico if idle else 0)
    uncached, cached, completion = row.tokens
    bounds_us = _bounds_us(ledger, span)
    lasted_us = bounds_us[1] - bounds_us[0] if bounds_us else 0
    return {
        **_bounds(bounds_us),
        "tokens": ClassTokens(
            uncached_prompt=uncached,
            cached_prompt=cached,
            completion=completion,
            reasoning=row.reasoning,
            total=tokens,
            requests=row.requests,
            unpriced=row.unpriced,
        ),
        "cost_usd": None if idle is None and tokens and not priced and not cost_pico else usd(cost_pico),
        "cost_usd_by_class": ClassCosts.model_validate(
            dict(zip(ClassCosts.model_fields, map(usd, row.cost_pico), strict=True))
        ),
        # Of 1e-12 USD: the million tokens take away six digits.
        "cost_per_million_tokens_usd": ratio(cost_pico, priced * PPM) if priced else None,
        "tokens_per_second": ratio(tokens * US_PER_SECOND, lasted_us) if lasted_us else None,
    }


def _steps(ledger: Ledger, totals: Totals) -> list[LedgerStep]:
    used_pico: dict[Span, int] = defaultdict(int)
    for (span, _), row in totals.rows.items():
        used_pico[span] += sum(row.cost_pico)
    steps = []
    for span in sorted({*used_pico, *totals.idle}, key=lambda span: span or (0, 0)):
        idle = totals.idle.get(span, Idle())
        steps.append(
            LedgerStep.model_validate(
                {
                    **_bounds(_bounds_us(ledger, span)),
                    "cost_usd": usd(used_pico[span] + idle.total_pico),
                    "idle": _idle(idle),
                }
            )
        )
    return steps


def _idle(idle: Idle) -> IdleCost:
    return IdleCost(
        fleet_usd=usd(idle.fleet_pico),
        loaded_usd=usd(idle.loaded_pico),
        unreported_usd=usd(idle.unreported_pico),
    )


def _coverage(ledger: Ledger, totals: Totals, total: Row) -> LedgerCoverage:
    covered_us = ledger.covered_us()
    shown_us = round(covered_us)
    unreported_us = round(totals.unreported_us)
    at_default_us = ledger.covered_us(lambda one: one.covered_us if one.source == DEFAULT_PRICE else 0)
    paid_us = covered_us + (totals.unreported_us if ledger.question.basis == "leased" else 0)
    tokens = ledger.token_counts
    return LedgerCoverage(
        leased_seconds=seconds(shown_us + unreported_us),
        covered_seconds=seconds(shown_us),
        gap_seconds=seconds(ledger.gap_us),
        unreported_seconds=seconds(unreported_us),
        without_utilization_seconds=seconds(round(ledger.covered_us(lambda one: one.without_utilization_us))),
        without_power_seconds=seconds(round(ledger.covered_us(lambda one: one.without_power_us))),
        default_price_share=ratio((at_default_us + totals.unreported_at_default_us) / paid_us, 1)
        if paid_us
        else None,
        engine_tokens=tokens.engine,
        gateway_tokens=tokens.gateway,
        unattributed_tokens=tokens.unattributed,
        unmatched_tokens=tokens.unmatched,
        unpriced_tokens=total.unpriced,
        dead_letters=sum(ledger.dead_letters.values()),
        conflicting_events=ledger.coverage.conflicts
        + ledger.usage.conflicts
        + ledger.dead_letters.get(Reason.CONFLICT, 0),
        counter_resets=ledger.counter_resets,
        catalog_version=ledger.book.catalog.version,
        read_from=ledger.read_from,
        deleted_seconds=seconds(ledger.deleted_us),
        approximate_hours=ledger.approximate_hours,
    )
