"""What people declare of their GPUs: who serves what, at which price, rented since when, on which budget.

Every row is dated in event time: it holds from `valid_from_us`, up to but without `valid_to_us`, in
microseconds since 1970 UTC. None is open.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import Literal, NamedTuple

Role = Literal["serve", "prefill", "decode"]
Market = Literal["on_demand", "spot", "reserved", "owned"]
# Of /cost, that a budget may be for.
Dimension = Literal["team", "model", "deployment"]


class GpuRef(NamedTuple):
    """A GPU by uuid, or by host and index."""

    uuid: str | None = None
    host: str | None = None
    gpu_index: int | None = None

    def __str__(self) -> str:
        """As a sentence names it."""
        return self.uuid if self.uuid is not None else f"{self.host}/{self.gpu_index}"


class Selector(NamedTuple):
    """What a price or a lease is for: one of the kinds, and its value."""

    kind: Literal["uuid", "host", "instance_type", "gpu_name"]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A row with its time."""

    valid_from_us: int | None = None
    valid_to_us: int | None = None

    def holds(self, at_us: int) -> bool:
        """Whether the row holds at this moment."""
        return (self.valid_from_us is None or self.valid_from_us <= at_us) and (
            self.valid_to_us is None or at_us < self.valid_to_us
        )

    def overlaps(self, from_us: int | None, to_us: int | None) -> bool:
        """Whether the row holds at some moment of this time, of which None is open."""
        return (to_us is None or self.valid_from_us is None or self.valid_from_us < to_us) and (
            from_us is None or self.valid_to_us is None or from_us < self.valid_to_us
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(Dated):
    """Models on the GPUs that serve them together."""

    id: str
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    gpus: tuple[GpuRef, ...] = ()
    role: Role = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Dated):
    """USD for an hour of one GPU: the price of an instance is divided by its GPUs already."""

    selector: Selector
    usd_per_gpu_hour: Fraction
    market: Market = "on_demand"
    zone: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Dated):
    """GPUs that are paid for, whether they report or not. Its selector is a uuid or a host."""

    selector: Selector
    gpus: int = 1
    instance_type: str | None = None
    zone: str | None = None
    market: Market = "on_demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu(Dated):
    """A GPU or MIG slice that is known beforehand."""

    uuid: str | None = None
    host: str | None = None
    gpu_index: int | None = None
    name: str | None = None
    # Of a MIG slice: the uuid of its card, and its part of the card's price.
    card: str | None = None
    share: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Dated):
    """What one token of each class weighs where the engine gives no phase time."""

    uncached_prompt: Fraction = Fraction(1)
    cached_prompt: Fraction = Fraction(1)
    completion: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy(Dated):
    """The price of energy."""

    usd_per_kwh: Fraction


DEFAULT_THRESHOLDS = (Fraction(4, 5), Fraction(1))


class Scope(NamedTuple):
    """Whose cost a budget is for."""

    dimension: Dimension
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Dated):
    """What a month of the calendar, in UTC, may cost."""

    name: str
    # None: all that the GPUs cost.
    selector: Scope | None = None
    usd_per_month: Fraction
    # Shares of it at which somebody is told, ascending.
    thresholds: tuple[Fraction, ...] = DEFAULT_THRESHOLDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All rows of CATALOG.yml."""

    deployments: tuple[Deployment, ...] = ()
    prices: tuple[Price, ...] = ()
    leases: tuple[Lease, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    weights: tuple[Weights, ...] = ()
    energy: tuple[Energy, ...] = ()
    budgets: tuple[Budget, ...] = ()
    # Another name of a GPU model -> the name that prices use.
    aliases: dict[str, str] = field(default_factory=dict)
    _version: str = field(default="", init=False, repr=False, compare=False)

    @property
    def version(self) -> str:
        """A short digest of all that cost depends on: answers with the same version used the same rows."""
        if not self._version:
            object.__setattr__(self, "_version", _digest(self.rows(), self.aliases.items()))
        return self._version

    @property
    def digest(self) -> str:
        """The same of everything, budgets included."""
        return _digest(self.rows(), self.budgets, self.aliases.items())

    def rows(self) -> Iterator[Dated]:
        """The rows that cost depends on: of all sections but the budgets."""
        return chain(self.deployments, self.prices, self.leases, self.gpus, self.weights, self.energy)


def _digest(*parts: Iterable[object]) -> str:
    lines = sorted(map(repr, chain(*parts)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
