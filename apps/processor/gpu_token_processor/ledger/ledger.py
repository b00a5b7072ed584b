"""Takes events in order of time, and answers what they cost and whose they are. Rules: docs/cost-model.md."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from gpu_token_processor.ledger.book import DEFAULT_PRICE, Book
from gpu_token_processor.ledger.cells import Cell, GpuPart, Item, ItemId, Unit, UnitId, share
from gpu_token_processor.ledger.coverage import Coverage, Sums
from gpu_token_processor.ledger.exact import US_PER_HOUR, US_PER_SECOND, clock_hours, divide, pico
from gpu_token_processor.ledger.question import GPU_INDEX, TAG, Question, period, require_few_steps
from gpu_token_processor.ledger.usage import Amounts, Named, Usage

# Dimensions that say which GPUs; the others say who used them.
_OF_GPUS = frozenset({"deployment", "gpu", "host", GPU_INDEX})

# What a lease calls the dimensions that it knows.
_NAMES = {"gpu": "uuid", "host": "host"}


class Place(NamedTuple):
    """The part of a unit that an amount lies on. None: all of it, or none."""

    deployment: str | None
    gpu: str | None = None
    host: str | None = None
    gpu_index: str | None = None


@dataclass(slots=True)
class Row:
    """Tokens and money of one key in one step; money in 1e-12 USD."""

    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])
    reasoning: int = 0
    requests: int = 0
    unpriced: int = 0
    cost_pico: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, item: Item, *, priced: bool) -> None:
        """Add an item's amounts and cost."""
        for at, count in enumerate(item.tokens):
            self.tokens[at] += count
            self.cost_pico[at] += item.cost_pico[at]
        self.reasoning += item.reasoning
        self.requests += item.requests
        if not priced:
            self.unpriced += sum(item.tokens)

    def include(self, other: "Row") -> None:
        """Add another row's."""
        for at, count in enumerate(other.tokens):
            self.tokens[at] += count
            self.cost_pico[at] += other.cost_pico[at]
        self.reasoning += other.reasoning
        self.requests += other.requests
        self.unpriced += other.unpriced


@dataclass(slots=True)
class Idle:
    """What nobody used, in 1e-12 USD."""

    fleet_pico: int = 0
    loaded_pico: int = 0
    unreported_pico: int = 0

    @property
    def total_pico(self) -> int:
        """All of it."""
        return self.fleet_pico + self.loaded_pico + self.unreported_pico

    def include(self, other: "Idle") -> None:
        """Add another's."""
        self.fleet_pico += other.fleet_pico
        self.loaded_pico += other.loaded_pico
        self.unreported_pico += other.unreported_pico


RowKey = tuple[str | None, ...]
# The bounds of a step; None without steps.
Span = tuple[int, int] | None


@dataclass(slots=True)
class Totals:
    """The answer, in integers."""

    rows: dict[tuple[Span, RowKey], Row] = field(default_factory=lambda: defaultdict(Row))
    idle: dict[Span, Idle] = field(default_factory=lambda: defaultdict(Idle))
    methods: set[str] = field(default_factory=set)
    unreported_us: Fraction = Fraction(0)
    # Part of it whose price is the default one, where it has a price.
    unreported_at_default_us: Fraction = Fraction(0)


class Ledger:
    """Everything that one question needs of its events."""

    def __init__(self, book: Book, question: Question) -> None:
        self.book = book
        self.question = question
        self.coverage = Coverage(book, question.start_us, question.end_us, question.gap_us)
        self.usage = Usage(book, question.start_us, question.end_us)
        # Refused events of the range, by reason; nothing else is known of them.
        self.dead_letters: Mapping[str, int] = {}

    def finish(self) -> None:
        """To be called once, after the last event. Raises TooManyStepsError."""
        self.coverage.finish()
        if self.bounds is not None:
            start_us, end_us = self.bounds
            require_few_steps(self.question.step, (end_us - start_us) / US_PER_SECOND)

    @cached_property
    def bounds(self) -> tuple[int, int] | None:
        """The range asked for, or else that of the events; None if there is neither."""
        begins = [self.coverage.first_us, self.usage.first_us]
        ends = [self.coverage.last_us, self.usage.last_us]
        start_us, end_us = self.question.start_us, self.question.end_us
        if start_us is None:
            start_us = min((us for us in begins if us is not None), default=None)
        if end_us is None:
            end_us = max((us for us in ends if us is not None), default=None)
        return None if start_us is None or end_us is None else (start_us, max(start_us, end_us))

    @cached_property
    def sums(self) -> list[Sums]:
        """Covered time in integers."""
        return list(self.coverage.sums())

    @cached_property
    def cells(self) -> dict[int, Cell]:
        """Each clock hour that has events, shared."""
        sums: dict[int, list[Sums]] = defaultdict(list)
        for counted in self.sums:
            sums[counted.hour].append(counted)
        usage = self.usage.hours
        return {
            hour: share(
                sums.get(hour, ()), usage.get(hour, {}), self.book, self.book.weights(hour * US_PER_HOUR)
            )
            for hour in sorted({*sums, *usage})
        }

    def whole_usage(self, wanted: Callable[[Named], bool]) -> dict[Named, Amounts]:
        """The usage of all hours in one."""
        whole: dict[Named, Amounts] = {}
        for usage in self.usage.hours.values():
            for named, amounts in usage.items():
                if wanted(named):
                    whole.setdefault(named, Amounts()).add(amounts)
        return whole

    def as_one_cell(self, sums: list[Sums], usage: Mapping[Named, Amounts]) -> Cell:
        """All of the range shared at once, whatever the hours."""
        start_us = self.bounds[0] if self.bounds else 0
        return share(sums, usage, self.book, self.book.weights(start_us))

    def totals(self) -> Totals:
        """Rows, idle time and methods."""
        totals = Totals()
        where = dict(self.question.where)
        users_only = any(name not in _OF_GPUS for name in where)
        for hour, cell in self.cells.items():
            span = period(hour, self.question.step)
            for unit_id, unit in cell.units.items():
                if unit.method is not None:
                    totals.methods.add(unit.method)
                self._post(totals, span, unit_id, unit, where)
                if unit.is_idle and not users_only:
                    self._post_idle(totals.idle[span], unit_id, unit, where)
        self._post_unreported(totals, where)
        return totals

    def _post(
        self, totals: Totals, span: Span, unit_id: UnitId, unit: Unit, where: Mapping[str, str]
    ) -> None:
        group_by = self.question.group_by
        by_gpu = not {"gpu", "host", GPU_INDEX}.isdisjoint((*group_by, *where))
        for item_id, item in unit.items.items():
            if item.is_empty:
                continue
            whole = [(Place(unit_id.deployment), item)]
            for place, part in _on_gpus(unit_id, unit, item) if by_gpu and unit.gpus else whole:
                if any(_value(name, item_id, place) != value for name, value in where.items()):
                    continue
                key = tuple(_value(name, item_id, place) for name in group_by)
                totals.rows[span, key].add(part, priced=unit_id.has_gpus)

    def _post_idle(self, idle: Idle, unit_id: UnitId, unit: Unit, where: Mapping[str, str]) -> None:
        for gpu_id, part in unit.gpus.items():
            place = _place(unit_id, gpu_id, part)
            if any(getattr(place, name) != value for name, value in where.items()):
                continue
            if place.deployment is None:
                idle.fleet_pico += part.cost_pico
            else:
                idle.loaded_pico += part.cost_pico

    def _post_unreported(self, totals: Totals, where: Mapping[str, str]) -> None:
        """Leased time that no reading covers, and, if asked for, its cost."""
        leases = self.book.catalog.leases
        if not leases or self.bounds is None or any(name not in _NAMES for name in where):
            return
        covered_us: dict[tuple[str, str | None, int, int], Fraction] = defaultdict(Fraction)
        for counted in self.sums:
            seen, hour, piece = counted.seen, counted.hour, counted.piece
            terms = self.book.terms(seen, piece)
            # Leases of hosts and of cards count whole cards, of which a slice is a part.
            part_us = counted.covered_us * terms.share
            covered_us["host", seen.host, hour, piece] += part_us
            if terms.card is not None:
                covered_us["uuid", terms.card, hour, piece] += part_us
            if terms.card != seen.uuid:
                covered_us["uuid", seen.uuid, hour, piece] += counted.covered_us
        start_us, end_us = self.bounds
        for lease in leases:
            kind, value = lease.selector
            if any(wanted != (value if _NAMES[name] == kind else None) for name, wanted in where.items()):
                continue
            begins_us = max(start_us, start_us if lease.valid_from_us is None else lease.valid_from_us)
            ends_us = min(end_us, end_us if lease.valid_to_us is None else lease.valid_to_us)
            silent_us: dict[tuple[int, Fraction, str], Fraction] = defaultdict(Fraction)
            for hour, hour_from_us, hour_upto_us in clock_hours(begins_us, ends_us):
                for piece, from_us, upto_us in self.book.pieces(hour_from_us, hour_upto_us):
                    length_us = lease.gpus * (upto_us - from_us)
                    silent = max(Fraction(0), length_us - covered_us[kind, value, hour, piece])
                    silent_us[hour, *self.book.lease_price(lease, from_us)] += silent
            for (hour, usd_per_hour, source), silent in silent_us.items():
                totals.unreported_us += silent
                if self.question.basis == "leased":
                    totals.unreported_at_default_us += silent if source == DEFAULT_PRICE else 0
                    totals.idle[period(hour, self.question.step)].unreported_pico += pico(
                        silent, usd_per_hour
                    )

    def covered_us(self, wanted: Callable[[Sums], int] = lambda counted: counted.covered_us) -> Fraction:
        """Of all GPUs, in time of whole cards: a slice counts as its part of one."""
        by_share: dict[Fraction, int] = defaultdict(int)
        for one in self.sums:
            by_share[self.book.terms(one.seen, one.piece).share] += wanted(one)
        return sum((share * us for share, us in by_share.items()), Fraction(0))

    @property
    def gap_us(self) -> int:
        """Time between two readings of a GPU that neither covers."""
        return sum(track.gap_us for track in self.coverage.tracks.values())


def _place(unit_id: UnitId, gpu_id: str, part: GpuPart) -> Place:
    index = min(part.indexes, default=None)
    host = min(part.hosts, default=None)
    return Place(unit_id.deployment, gpu_id, host, None if index is None else str(index))


def _on_gpus(unit_id: UnitId, unit: Unit, item: Item) -> Iterator[tuple[Place, Item]]:
    """The item in parts, one for each GPU: money as the GPUs cost, tokens as long as they were there."""
    if len(unit.gpus) == 1:
        [(gpu_id, part)] = unit.gpus.items()
        yield _place(unit_id, gpu_id, part), item
        return
    gpus = sorted(unit.gpus.items())
    by_time = [part.covered_us for _, part in gpus]
    by_cost = [part.cost_pico for _, part in gpus] if unit.cost_pico else by_time

    def parts(amount: int, weights: list[int]) -> list[int]:
        return divide(amount, weights, sum(weights))

    tokens = [parts(count, by_time) for count in item.tokens]
    costs = [parts(cost, by_cost) for cost in item.cost_pico]
    reasoning, requests = parts(item.reasoning, by_time), parts(item.requests, by_time)
    for at, (gpu_id, part) in enumerate(gpus):
        yield (
            _place(unit_id, gpu_id, part),
            Item(
                [counts[at] for counts in tokens],
                reasoning[at],
                requests[at],
                [costs_[at] for costs_ in costs],
            ),
        )


def _value(name: str, item_id: ItemId, place: Place) -> str | None:
    if name == "model":
        return item_id.model
    if name in _OF_GPUS:
        value: str | None = getattr(place, name)
        return value
    if name.startswith(TAG):
        return dict(item_id.whose.tags or ()).get(name.removeprefix(TAG))
    owner: str | None = getattr(item_id.whose, name)
    return owner
