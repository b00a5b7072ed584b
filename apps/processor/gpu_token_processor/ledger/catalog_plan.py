"""What becomes of a catalogue that is kept, where CATALOG.yml says something else: history stays.

A row that the file no longer has ends now. One whose content has changed ends now and begins anew.
A row with dates of its own holds from them on, but never over one that has ended already.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gpu_token_processor.ledger.catalog import Catalog, Dated, Price, Selector
from gpu_token_processor.ledger.catalog_changes import Plan, compare, content, placed, said, when
from gpu_token_processor.ledger.catalog_fields import CatalogError
from gpu_token_processor.ledger.catalog_file import gpu_name
from gpu_token_processor.ledger.catalog_rules import (
    EVER_US,
    NEVER_US,
    SECTIONS,
    Gpus,
    Key,
    Span,
    check,
    claims,
    key,
    label,
)

# The source of a price that an earlier version kept in the collection `gpus`. It holds until the file has a
# price for that name.
TAKEN_OVER = "the collection gpus of an earlier version"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A row, at a time that may be another than its own."""

    row: Dated
    span: Span
    # Whether the file says when it begins.
    dated: bool = True


def plan(kept: Catalog, wanted: Catalog, now_us: int, taken_over: Sequence[Price] = ()) -> Plan:
    """Bring what is kept, and what is taken over, to what the file wants. Raises CatalogError."""
    renamed = replace(kept, prices=_by_new_names(kept.prices, wanted.aliases))
    known = replace(renamed, prices=(*renamed.prices, *taken_over))
    gpus = Gpus((*kept.gpus, *wanted.gpus))
    rows: dict[str, Any] = {
        section: _settle(section, getattr(known, section), getattr(wanted, section), gpus, now_us)
        for section in SECTIONS
    }
    catalog = Catalog(**rows, aliases=wanted.aliases)
    try:
        check(catalog, name=lambda _, row: f"the one {when(Span.of(row))}")
    except CatalogError as error:
        raise CatalogError(f"together with what is kept already, {error}") from None
    return compare(renamed, catalog)


def _by_new_names(prices: Sequence[Price], aliases: dict[str, str]) -> tuple[Price, ...]:
    """Kept prices under the names that the file's aliases give them."""
    renamed = []
    held: dict[Key, list[tuple[Span, Price]]] = defaultdict(list)
    for price in prices:
        row = price
        if price.selector.kind == "gpu_name":
            row = replace(price, selector=Selector("gpu_name", gpu_name(price.selector.value, aliases)))
        for span, other in held[key(row)]:
            if other.usd_per_gpu_hour != price.usd_per_gpu_hour and not span.within(Span.of(row)).is_empty:
                raise CatalogError(
                    f"aliases: {other.selector.value} and {price.selector.value} would become one name, "
                    "but have had two prices: remove the alias, and give each name its price."
                )
        held[key(row)].append((Span.of(row), price))
        renamed.append(row)
    return tuple(renamed)


def _settle(
    section: str, kept: Sequence[Dated], wanted: Sequence[Dated], gpus: Gpus, now_us: int
) -> tuple[Dated, ...]:
    wanted = tuple(_joined(_Piece(row, Span.of(row)) for row in wanted))
    rivals = _Rivals(kept, wanted, gpus)
    pieces = [_begun(row, rivals.kept(row), now_us) for row in wanted]
    for piece in pieces:
        _refuse_contradiction(section, piece, rivals.kept(piece.row), now_us)
    of_row = {id(piece.row): piece for piece in pieces}
    for row in kept:
        pieces += _left(row, [of_row[id(rival)] for rival in rivals.wanted(row)], now_us)
    return tuple(_joined(pieces))


class _Rivals:
    """For each row, those of the other side that have something in common with it."""

    def __init__(self, kept: Sequence[Dated], wanted: Sequence[Dated], gpus: Gpus) -> None:
        self._gpus = gpus
        self._kept, self._wanted = self._index(kept), self._index(wanted)

    def kept(self, row: Dated) -> list[Dated]:
        """Kept rows."""
        return self._of(row, self._kept)

    def wanted(self, row: Dated) -> list[Dated]:
        """Rows of the file."""
        return self._of(row, self._wanted)

    def _index(self, rows: Sequence[Dated]) -> dict[Key, list[Dated]]:
        index: dict[Key, list[Dated]] = defaultdict(list)
        for row in rows:
            for what in {claim.what for claim in claims(row, self._gpus)}:
                index[what].append(row)
        return index

    def _of(self, row: Dated, index: dict[Key, list[Dated]]) -> list[Dated]:
        found = {id(rival): rival for claim in claims(row, self._gpus) for rival in index.get(claim.what, ())}
        return list(found.values())


def _begun(row: Dated, kept: Sequence[Dated], now_us: int) -> _Piece:
    """A row of the file, with the time at which it begins."""
    span = Span.of(row)
    if row.valid_from_us is not None:
        return _Piece(row, span)
    # The kept row that this is: it goes on, or has ended as the file says.
    for known in kept:
        own = Span.of(known)
        goes_on = own.to_us > now_us or own.to_us == span.to_us
        if content(known) == content(row) and goes_on and own.from_us < min(span.to_us, now_us):
            return _Piece(row, span._replace(from_us=own.from_us), dated=False)
    if span.to_us > now_us and any(Span.of(known).from_us < now_us for known in kept):
        return _Piece(row, span._replace(from_us=now_us), dated=False)
    return _Piece(row, span, dated=False)


def _refuse_contradiction(section: str, piece: _Piece, kept: Sequence[Dated], now_us: int) -> None:
    """What has held stays; the file may only end a row that is still open, at a time that it names."""
    past = Span(EVER_US, now_us)
    for known in kept:
        own = Span.of(known)
        common = own.within(piece.span).within(past)
        if common.is_empty or content(known) == content(piece.row):
            continue
        if own.to_us > now_us and piece.dated and piece.span.from_us > own.from_us:
            continue
        raise CatalogError(
            f"{section}: {label(piece.row)} is {said(piece.row)} {when(Span.of(piece.row))}, "
            f"but {label(known)} was {said(known)} {when(common)}, and what has held is not rewritten: "
            "leave that row as it was, end it (valid_to), and begin another row there."
        )


def _left(row: Dated, rivals: Sequence[_Piece], now_us: int) -> Iterator[_Piece]:
    """What stays of a kept row: its past, where the file says nothing else."""
    span = Span.of(row)
    own_key = key(row)
    of_key = [rival for rival in rivals if key(rival.row) == own_key]
    taken_over = isinstance(row, Price) and row.source == TAKEN_OVER
    if span.to_us > now_us and not (taken_over and not of_key):
        end_us = now_us
        for rival in of_key:
            # The file has the row, and says when it ends. Where that is when this one begins, they are one.
            touches = rival.span.from_us < span.to_us and span.from_us <= rival.span.to_us
            if content(rival.row) == content(row) and touches:
                end_us = min(end_us, rival.span.to_us)
        span = span._replace(to_us=end_us)
    for rival in sorted(rivals, key=lambda rival: rival.span):
        before = span.within(Span(EVER_US, rival.span.from_us))
        if not before.is_empty:
            yield _Piece(row, before)
        span = span.within(Span(rival.span.to_us, NEVER_US))
    if not span.is_empty:
        yield _Piece(row, span)


def _joined(pieces: Iterable[_Piece]) -> Iterator[Dated]:
    """The pieces as rows: those of one content that touch are one. The first of them gives the source."""
    groups: dict[Dated, list[_Run]] = defaultdict(list)
    for number, piece in enumerate(pieces):
        groups[content(piece.row)].append(_Run(piece.span, number, piece.row))
    for group in groups.values():
        runs: list[_Run] = []
        for run in sorted(group, key=lambda run: (run.span, run.number)):
            if runs and run.span.from_us <= runs[-1].span.to_us:
                last = runs.pop()
                first = min(last, run, key=lambda run: run.number)
                run = first._replace(span=Span(last.span.from_us, max(last.span.to_us, run.span.to_us)))
            runs.append(run)
        yield from (placed(run.row, run.span) for run in runs)


class _Run(NamedTuple):
    """Pieces that touch: their time, and the first of them with its number."""

    span: Span
    number: int
    row: Dated
