"""The ledger's answer for people and for spreadsheets."""

import csv
import io
from decimal import Decimal

from rich.console import Group
from rich.table import Table

from gpu_token_processor.api.models import IdleCost, LedgerAmounts, LedgerAnswer

_NO_VALUE = "-"
_IDLE = {
    "fleet_idle": ("fleet_usd", "idle: GPUs without tokens"),
    "loaded_idle": ("loaded_usd", "idle: deployments without tokens"),
    "unreported": ("unreported_usd", "leased, not reported"),
}
_TOKENS = ("uncached_prompt", "cached_prompt", "completion", "reasoning", "total", "requests", "unpriced")


def as_csv(answer: LedgerAnswer) -> str:
    """A row for each group, and for each kind of idle time; their costs add up to the total."""
    dimensions = _dimensions(answer)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    counts = [name for name in _TOKENS if name != "requests"]
    columns = [*(f"{name}_tokens" for name in counts), "requests", "cost_usd", "cost_per_million_tokens_usd"]
    writer.writerow(["kind", "start", "end", *dimensions, *columns])
    for row in answer.rows:
        numbers = [*(getattr(row.tokens, name) for name in counts), row.tokens.requests, row.cost_usd]
        writer.writerow(
            [
                "used",
                _time(row, "start"),
                _time(row, "end"),
                *row.key.values(),
                *numbers,
                row.cost_per_million_tokens_usd,
            ]
        )
    parts: list[tuple[object, IdleCost]] = [(step, step.idle) for step in answer.steps or ()]
    parts = parts or [(answer.total, answer.idle)]
    for span, idle in parts:
        for kind, (field, _) in _IDLE.items():
            cost_usd: Decimal = getattr(idle, field)
            if cost_usd:
                blank = [""] * (len(dimensions) + len(_TOKENS))
                writer.writerow([kind, _time(span, "start"), _time(span, "end"), *blank, cost_usd, ""])
    return text.getvalue()


def as_table(answer: LedgerAnswer) -> Group:
    """A table with a line for each group, idle time and the total."""
    dimensions = _dimensions(answer)
    by_step = answer.steps is not None
    table = Table(box=None, header_style="bold")
    for name in [*(["from"] if by_step else []), *dimensions]:
        table.add_column(name)
    for name in ("prompt", "cached", "completion", "USD", "USD per million"):
        table.add_column(name, justify="right")
    for row in answer.rows:
        lead = [_time(row, "start")] if by_step else []
        table.add_row(*lead, *(value or _NO_VALUE for value in row.key.values()), *_numbers(row))
    blank = [""] * (len(dimensions) + by_step - 1)
    for field, title in _IDLE.values():
        cost_usd: Decimal = getattr(answer.idle, field)
        if cost_usd:
            table.add_row(title, *blank, "", "", "", f"{cost_usd:,.6f}", "")
    table.add_section()
    table.add_row("total", *blank, *_numbers(answer.total), style="bold")
    return Group(table, *_notes(answer))


def _dimensions(answer: LedgerAnswer) -> list[str]:
    return list(answer.rows[0].key) if answer.rows else ["model"]


def _time(span: object, name: str) -> str:
    moment = getattr(span, name)
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def _numbers(row: LedgerAmounts) -> list[str]:
    return [
        f"{row.tokens.uncached_prompt:,}",
        f"{row.tokens.cached_prompt:,}",
        f"{row.tokens.completion:,}",
        _NO_VALUE if row.cost_usd is None else f"{row.cost_usd:,.6f}",
        _NO_VALUE if row.cost_per_million_tokens_usd is None else f"{row.cost_per_million_tokens_usd:,.6f}",
    ]


def _notes(answer: LedgerAnswer) -> list[str]:
    """What a reader must know of how sure the numbers are."""
    coverage = answer.coverage
    notes = [
        f"{_time(answer.total, 'start')} to {_time(answer.total, 'end')}",
        f"GPU seconds: {coverage.covered_seconds:f} covered, {coverage.gap_seconds:f} in gaps, "
        f"{coverage.unreported_seconds:f} leased and not reported.",
    ]
    if coverage.default_price_share:
        notes.append(f"{coverage.default_price_share:.1%} of the covered time is at the default price.")
    if coverage.unpriced_tokens:
        notes.append(f"{coverage.unpriced_tokens:,} tokens are unpriced: their GPUs did not report.")
    if coverage.unattributed_tokens:
        notes.append(f"{coverage.unattributed_tokens:,} tokens are nobody's: no gateway reported them.")
    if coverage.conflicting_events:
        notes.append(f"{coverage.conflicting_events:,} events came again with other content.")
    return notes
