"""What cells are added up to: rows by key and step, and what nobody used."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from gpu_token_processor.ledger.cells import Cell, GpuPart, Item, ItemId, Unit, UnitId
from gpu_token_processor.ledger.exact import divide
from gpu_token_processor.ledger.question import GPU_INDEX, TAG, Question

# Dimensions that say which GPUs; the others say who used them.
_OF_GPUS = frozenset({"deployment", "gpu", "host", GPU_INDEX})
_OF_ONE_GPU = frozenset({"gpu", "host", GPU_INDEX})

# What a lease calls the dimensions that it knows.
_NAMES = {"gpu": "uuid", "host": "host"}


class Place(NamedTuple):
    """The part of a unit that an amount lies on. None: all of it, or none."""

    deployment: str | None
    gpu: str | None = None
    host: str | None = None
    gpu_index: str | None = None


class ShareKey(NamedTuple):
    """One user's share; one that nothing pays for has no price."""

    place: Place
    priced: bool
    item_id: ItemId


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
    """What nobody used, in 1e-12 USD, and how long it was not used."""

    fleet_pico: int = 0
    loaded_pico: int = 0
    unreported_pico: int = 0
    fleet_us: int = 0
    loaded_us: int = 0
    unreported_us: Fraction = Fraction(0)

    @property
    def total_pico(self) -> int:
        """All of it."""
        return self.fleet_pico + self.loaded_pico + self.unreported_pico

    def include(self, other: "Idle") -> None:
        """Add another's."""
        self.fleet_pico += other.fleet_pico
        self.loaded_pico += other.loaded_pico
        self.unreported_pico += other.unreported_pico
        self.fleet_us += other.fleet_us
        self.loaded_us += other.loaded_us
        self.unreported_us += other.unreported_us


RowKey = tuple[str | None, ...]
# The bounds of a step; None without steps.
Span = tuple[int, int] | None


@dataclass(slots=True)
class Silent:
    """Leased time that no reading covers."""

    time_us: Fraction = Fraction(0)
    # Part of it whose price is the default one.
    at_default_us: Fraction = Fraction(0)
    cost_pico: int = 0

    def times(self, count: int) -> "Silent":
        """So many of the same."""
        return Silent(self.time_us * count, self.at_default_us * count, self.cost_pico * count)

    def include(self, other: "Silent") -> None:
        """Add another's."""
        self.time_us += other.time_us
        self.at_default_us += other.at_default_us
        self.cost_pico += other.cost_pico


@dataclass(slots=True)
class Totals:
    """The answer, in integers."""

    rows: dict[tuple[Span, RowKey], Row] = field(default_factory=lambda: defaultdict(Row))
    idle: dict[Span, Idle] = field(default_factory=lambda: defaultdict(Idle))
    methods: set[str] = field(default_factory=set)
    unreported_us: Fraction = Fraction(0)
    # Part of it whose price is the default one, where it has a price.
    unreported_at_default_us: Fraction = Fraction(0)


class Adding:
    """Adds amounts up as one question asks for them."""

    def __init__(self, question: Question) -> None:
        self._group_by = question.group_by
        self._where = dict(question.where)
        self._with_unreported = question.basis == "leased"
        self._with_idle = _OF_GPUS.issuperset(self._where)
        self.by_gpu = tells_gpus_apart(question)
        self.totals = Totals()

    def cell(self, span: Span, cell: Cell) -> None:
        """Add all that a cell has."""
        self.totals.methods |= cell.methods
        for key, item in shares_of(cell, by_gpu=self.by_gpu):
            self.item(span, key, item)
        for place, gpu in idle_of(cell):
            self.idle(span, place, gpu.cost_pico, gpu.covered_us)

    def item(self, span: Span, share: ShareKey, item: Item) -> None:
        """Add what one user has."""
        if any(_value(name, share) != value for name, value in self._where.items()):
            return
        key = tuple([_value(name, share) for name in self._group_by])
        self.totals.rows[span, key].add(item, priced=share.priced)

    def idle(self, span: Span, place: Place, cost_pico: int, covered_us: int) -> None:
        """Add a GPU's time that nobody used."""
        if not self._with_idle or any(getattr(place, name) != value for name, value in self._where.items()):
            return
        idle = self.totals.idle[span]
        if place.deployment is None:
            idle.fleet_pico += cost_pico
            idle.fleet_us += covered_us
        else:
            idle.loaded_pico += cost_pico
            idle.loaded_us += covered_us

    def asks_for(self, kind: str, value: str) -> bool:
        """Whether a lease with this selector is a part of what is asked for."""
        return all(
            name in _NAMES and wanted == (value if _NAMES[name] == kind else None)
            for name, wanted in self._where.items()
        )

    def silent(self, span: Span, silent: Silent) -> None:
        """Add leased time that no reading covers, and, if asked for, its cost."""
        self.totals.unreported_us += silent.time_us
        if self._with_unreported:
            self.totals.unreported_at_default_us += silent.at_default_us
            idle = self.totals.idle[span]
            idle.unreported_pico += silent.cost_pico
            idle.unreported_us += silent.time_us


def tells_gpus_apart(question: Question) -> bool:
    """Whether amounts must be told apart by GPU."""
    return not _OF_ONE_GPU.isdisjoint((*question.group_by, *dict(question.where)))


def shares_of(cell: Cell, *, by_gpu: bool) -> Iterator[tuple[ShareKey, Item]]:
    """What each user has of each unit, or of each of its GPUs."""
    for unit_id, unit in cell.units.items():
        gpus = _places(unit_id, unit) if by_gpu else []
        for item_id, item in unit.items.items():
            if item.is_empty:
                continue
            whole = [(Place(unit_id.deployment), item)]
            for place, part in _on_gpus(gpus, item) if gpus else whole:
                yield ShareKey(place, unit_id.has_gpus, item_id), part


def idle_of(cell: Cell) -> Iterator[tuple[Place, GpuPart]]:
    """GPUs that nobody used."""
    for unit_id, unit in cell.units.items():
        if unit.is_idle:
            yield from _places(unit_id, unit)


def _places(unit_id: UnitId, unit: Unit) -> list[tuple[Place, GpuPart]]:
    """Each GPU of a unit, in order of their ids."""
    return [
        (Place(unit_id.deployment, gpu_id, part.host, _text(part.gpu_index)), part)
        for gpu_id, part in sorted(unit.gpus.items())
    ]


def _text(index: int | None) -> str | None:
    return None if index is None else str(index)


def _on_gpus(gpus: Sequence[tuple[Place, GpuPart]], item: Item) -> Iterator[tuple[Place, Item]]:
    """The item in parts, one for each GPU: money as the GPUs cost, tokens as long as they were there."""
    if len(gpus) == 1:
        yield gpus[0][0], item
        return
    by_time = [part.covered_us for _, part in gpus]
    by_cost = [part.cost_pico for _, part in gpus]
    if not any(by_cost):
        by_cost = by_time

    def parts(amount: int, weights: list[int]) -> list[int]:
        return divide(amount, weights, sum(weights))

    tokens = [parts(count, by_time) for count in item.tokens]
    costs = [parts(cost, by_cost) for cost in item.cost_pico]
    reasoning, requests = parts(item.reasoning, by_time), parts(item.requests, by_time)
    for at, (place, _) in enumerate(gpus):
        yield (
            place,
            Item(
                [counts[at] for counts in tokens],
                reasoning[at],
                requests[at],
                [costs_[at] for costs_ in costs],
            ),
        )


def _value(name: str, share: ShareKey) -> str | None:
    model, whose = share.item_id
    if name == "model":
        return model
    if name in _OF_GPUS:
        value: str | None = getattr(share.place, name)
        return value
    if name.startswith(TAG):
        return dict(whose.tags or ()).get(name.removeprefix(TAG))
    owner: str | None = getattr(whose, name)
    return owner
