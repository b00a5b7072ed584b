"""What a new version of the catalogue changes, in sentences for people."""

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from itertools import groupby
from typing import Any, NamedTuple

from gpu_token_processor.ledger.catalog import Budget, Catalog, Dated, GpuRef, Price
from gpu_token_processor.ledger.catalog_fields import at
from gpu_token_processor.ledger.catalog_rules import EVER_US, NEVER_US, SECTIONS, Span, label


class Plan(NamedTuple):
    """The catalogue to keep, and how it differs from the one that is kept; without actions it does not."""

    catalog: Catalog
    actions: list[str]
    before: dict[str, list[str]]
    after: dict[str, list[str]]


def compare(kept: Catalog, catalog: Catalog) -> Plan:
    """The plan that makes one of the other."""
    actions: list[str] = []
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for section in SECTIONS:
        old, new = set(getattr(kept, section)), set(getattr(catalog, section))
        changed = sorted((*old - new, *new - old), key=lambda row: (label(row), Span.of(row)))
        for name, group in groupby(changed, key=label):
            rows = list(group)
            gone, come = [row for row in rows if row in old], [row for row in rows if row in new]
            actions.append(f"{section}: {_action(name, gone, come)}")
            for side, shown in ((before, gone), (after, come)):
                side[f"{section} {name}"] = [f"{said(row)} {when(Span.of(row))}" for row in shown]
    for other in sorted(kept.aliases.keys() | catalog.aliases.keys()):
        was, is_now = kept.aliases.get(other), catalog.aliases.get(other)
        if was != is_now:
            # Two spellings are one name at all times or never, so aliases have no dates.
            actions.append(
                f"aliases: {other} is {is_now or 'a name of its own'} instead of "
                f"{was or 'a name of its own'}, at all times"
            )
            before[f"aliases {other}"] = [was] if was else []
            after[f"aliases {other}"] = [is_now] if is_now else []
    return Plan(catalog, actions, before, after)


def _action(name: str, gone: Sequence[Dated], come: Sequence[Dated]) -> str:
    """One change in one sentence."""
    if not gone:
        return "; ".join(f"add {name}: {said(row)} {when(Span.of(row))}" for row in come)
    if not come:
        return f"remove {name}, which has not begun"
    if len(gone) == len(come) == 1 and content(gone[0]) == content(come[0]):
        was, is_now = Span.of(gone[0]), Span.of(come[0])
        if was == is_now:
            return f"note the source of {name}: {said(come[0])}"
        return f"{name}, {said(gone[0])} {when(was)}, now holds {when(is_now)}"
    told = "; ".join(f"{said(row)} {when(Span.of(row))}" for row in come)
    return f"change {name}: {told}"


def said(row: Dated) -> str:
    """What the row says, beside its key and its time."""
    if isinstance(row, Price):
        source = f" ({row.source})" if row.source else ""
        return f"{float(row.usd_per_gpu_hour):g} USD per GPU hour{source}"
    if isinstance(row, Budget):
        of = "" if row.selector is None else f" of {row.selector.dimension} {row.selector.value}"
        return f"{float(row.usd_per_month):.12g} USD a month{of}, thresholds {_words(row.thresholds)}"
    return ", ".join(
        f"{field.name} {_words(getattr(row, field.name))}"
        for field in fields(row)
        if field.name not in ("valid_from_us", "valid_to_us", "id", "selector")
        and getattr(row, field.name) not in (None, ())
    )


def _words(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, GpuRef):
        return "[" + " ".join(_words(one) for one in value) + "]"
    return f"{float(value):g}" if isinstance(value, Fraction) else str(value)


def when(span: Span) -> str:
    """From when to when."""
    begin = at(None if span.from_us == EVER_US else span.from_us, "ever")
    end = "" if span.to_us == NEVER_US else f" to {at(span.to_us, '')}"
    return f"from {begin}{end}"


def placed(row: Dated, span: Span) -> Dated:
    """The row at another time."""
    return replace(
        row,
        valid_from_us=None if span.from_us == EVER_US else span.from_us,
        valid_to_us=None if span.to_us == NEVER_US else span.to_us,
    )


def content(row: Dated) -> Dated:
    """The row without its dates and its source, which is only a remark."""
    bare = placed(row, Span(EVER_US, NEVER_US))
    return replace(bare, source=None) if isinstance(bare, Price) else bare
