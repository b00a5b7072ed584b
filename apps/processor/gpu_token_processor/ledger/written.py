"""The ledger's answer for people and for spreadsheets."""

import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from gpu_token_contracts.timestamps import format_ts
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from gpu_token_processor.api.models import IdleCost, LedgerAmounts, LedgerAnswer, LedgerStep

_NO_VALUE = "-"
# How much of a time a step needs.
_TIME = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
# No answer is wider.
_ANY_WIDTH = 1_000_000
# Texts on a narrow terminal fold to no less.
_LEAST_TEXT_WIDTH = 10
_CELL_PADDING = 2
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTED = re.compile(r'[",\r\n]')
# The kind of a line that is not idle time.
USED = "used"
_IDLE = {
    "fleet_idle": ("fleet_usd", "idle: GPUs without tokens"),
    "loaded_idle": ("loaded_usd", "idle: deployments without tokens"),
    "unreported": ("unreported_usd", "leased, not reported"),
}
_TOKENS = ("uncached_prompt", "cached_prompt", "completion", "reasoning", "total", "requests", "unpriced")
_COUNTS = tuple(name for name in _TOKENS if name != "requests")
_NUMBERS = ("uncached", "cached", "completion", "USD", "USD per million")


def as_csv(answer: LedgerAnswer) -> str:
    """A row for each group, and for each kind of idle time; their costs add up to the total.

    A text that a spreadsheet would take for a formula has a ' before it; numbers are as they are.
    """
    dimensions = _dimensions(answer)
    lines: list[Sequence[object]] = [csv_header(dimensions)]
    for row in answer.rows:
        numbers = [*(getattr(row.tokens, name) for name in _COUNTS), row.tokens.requests, row.cost_usd]
        lines.append(
            [
                USED,
                row.start,
                row.end,
                *row.key.values(),
                *numbers,
                row.cost_per_million_tokens_usd,
            ]
        )
    parts: list[tuple[LedgerStep | LedgerAmounts, IdleCost]] = [(answer.total, answer.idle)]
    if answer.steps:
        parts = [(step, step.idle) for step in answer.steps]
    for span, idle in parts:
        for kind, (field, _) in _IDLE.items():
            cost_usd: Decimal = getattr(idle, field)
            if cost_usd:
                lines.append(csv_idle_line(kind, (span.start, span.end), cost_usd, len(dimensions)))
    return csv_text(lines)


def csv_header(dimensions: Sequence[str]) -> list[str]:
    """The names of the columns."""
    counts = [f"{name}_tokens" for name in _COUNTS]
    numbers = [*counts, "requests", "cost_usd", "cost_per_million_tokens_usd"]
    return ["kind", "start", "end", *dimensions, *numbers]


def csv_idle_line(
    kind: str, bounds: tuple[datetime | None, datetime | None], cost_usd: Decimal, dimensions: int
) -> list[object]:
    """A line of idle time, with None for so many dimensions."""
    return [kind, *bounds, *[None] * (dimensions + len(_TOKENS)), cost_usd, None]


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Lines of CSV; numbers are without exponent.

    A text that a spreadsheet would take for a formula has a ' before it.
    """
    return "".join(",".join(map(_csv_cell, line)) + "\n" for line in lines)


def _csv_cell(value: object) -> str:
    # Not by the module csv, which leaves a carriage return without quotes.
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        value = format_ts(value)
    text = "" if value is None else str(value)
    if isinstance(value, str) and text.startswith(_FORMULA):
        text = f"'{text}"
    return '"{}"'.format(text.replace('"', '""')) if _QUOTED.search(text) else text


def as_table(answer: LedgerAnswer, step: str | None, *, on_terminal: bool) -> str:
    """A table with a line for each group, idle time and the total.

    On a terminal, texts fold to its width; numbers stay whole everywhere.
    """
    texts = [*(["from"] if step else []), *map(visible, _dimensions(answer))]
    used = [
        [
            *([row.start.strftime(_TIME[step])] if step and row.start else []),
            *(visible(value or _NO_VALUE) for value in row.key.values()),
            *_numbers(row),
        ]
        for row in answer.rows
    ]
    blank = [""] * (len(texts) - 1)
    idle = [
        [title, *blank, "", "", "", f"{getattr(answer.idle, field):,.6f}", ""]
        for field, title in _IDLE.values()
        if getattr(answer.idle, field)
    ]
    total = ["total", *blank, *_numbers(answer.total)]
    table = Table(box=None, header_style="bold")
    least_width = 0
    for at, cells in enumerate(zip([*texts, *_NUMBERS], *used, *idle, total, strict=True)):
        width = max(map(cell_len, cells))
        is_text = at < len(texts)
        if is_text:
            width = min(width, _LEAST_TEXT_WIDTH)
            table.add_column(Text(cells[0]), overflow="fold", min_width=width)
        else:
            table.add_column(Text(cells[0]), justify="right", no_wrap=True, min_width=width)
        least_width += width + _CELL_PADDING
    for row in (*used, *idle):
        table.add_row(*map(Text, row))
    table.add_section()
    table.add_row(*map(Text, total), style="bold")
    written = io.StringIO()
    console = Console(file=written, width=None if on_terminal else _ANY_WIDTH, force_terminal=on_terminal)
    console.width = max(console.width, least_width)
    console.print(Group(table, *map(Text, _notes(answer))))
    return written.getvalue()


def visible(text: str) -> str:
    """The text with escapes for what a terminal would obey, or not show."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _dimensions(answer: LedgerAnswer) -> list[str]:
    return list(answer.rows[0].key) if answer.rows else ["model"]


def _time(moment: datetime | None) -> str:
    return "" if moment is None else format_ts(moment)


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
        f"{_time(answer.total.start)} to {_time(answer.total.end)}",
        f"GPU seconds: {coverage.covered_seconds:f} covered, {coverage.gap_seconds:f} in gaps, "
        f"{coverage.unreported_seconds:f} leased and not reported.",
    ]
    if coverage.default_price_share:
        notes.append(f"{coverage.default_price_share:.1%} of the covered time is at the default price.")
    if coverage.unpriced_tokens:
        notes.append(
            f"{coverage.unpriced_tokens:,} tokens are unpriced: "
            "they name no GPU or deployment that reported in that hour."
        )
    if coverage.unattributed_tokens:
        notes.append(f"{coverage.unattributed_tokens:,} tokens are nobody's: no gateway reported them.")
    if coverage.conflicting_events:
        notes.append(f"{coverage.conflicting_events:,} events came again with other content.")
    if coverage.counter_resets:
        notes.append(
            f"Counters began anew, by the events: {coverage.counter_resets:,}. "
            "What they counted after they were last read is missing."
        )
    return notes
