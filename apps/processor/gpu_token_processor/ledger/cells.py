"""Shares what GPUs cost in one cell of time among those who used them.

A cell is a clock hour, or what lies of it in the range; all sharing happens within one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from math import lcm
from typing import NamedTuple, TypeVar

from gpu_token_processor.ledger.book import Book, Seen
from gpu_token_processor.ledger.catalog import Weights
from gpu_token_processor.ledger.coverage import Sums
from gpu_token_processor.ledger.exact import divide, pico_of_ratio
from gpu_token_processor.ledger.usage import NOBODY, Amounts, Named, Whose, none_first

K = TypeVar("K")
V = TypeVar("V")

CLASSES = ("uncached_prompt", "cached_prompt", "completion")

PHASE_TIME = "phase_time"
WEIGHTS = "weights"

_DEPLOYMENT = "deployment"
_GPU = "gpu"
_NO_UNIT = "none"


class UnitId(NamedTuple):
    """A deployment by its id, a GPU without one by its id, or neither, by the deployment that was named."""

    kind: str
    name: str

    @property
    def deployment(self) -> str | None:
        """The deployment, be it there or only named."""
        return None if self.kind == _GPU else self.name or None

    @property
    def has_gpus(self) -> bool:
        """Whether there is anything that costs."""
        return self.kind != _NO_UNIT


class ItemId(NamedTuple):
    """A model's tokens of one user."""

    model: str
    whose: Whose


@dataclass(slots=True)
class Item:
    """Tokens by class, and what each class costs in 1e-12 USD."""

    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])
    reasoning: int = 0
    requests: int = 0
    cost_pico: list[int] = field(default_factory=lambda: [0, 0, 0])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (any(self.tokens) or self.reasoning or self.requests)


@dataclass(slots=True)
class GpuPart:
    """One GPU's part of a unit."""

    # Of several the least.
    host: str | None = None
    gpu_index: int | None = None
    covered_us: int = 0
    cost_pico: int = 0


@dataclass(slots=True)
class Unit:
    """What is paid for together: a deployment's GPUs, or one GPU that belongs to none."""

    gpus: dict[str, GpuPart] = field(default_factory=dict)
    items: dict[ItemId, Item] = field(default_factory=dict)
    method: str | None = None
    # Whether some events do not tell it from another unit.
    ambiguous: bool = False
    # What the events say, before it is known whose the tokens are.
    by_engine: dict[ItemId, Amounts] = field(default_factory=dict)
    by_gateway: dict[ItemId, Amounts] = field(default_factory=dict)

    @property
    def covered_us(self) -> int:
        """Of all its GPUs."""
        return sum(gpu.covered_us for gpu in self.gpus.values())

    @property
    def cost_pico(self) -> int:
        """Of all its GPUs."""
        return sum(gpu.cost_pico for gpu in self.gpus.values())

    @property
    def is_idle(self) -> bool:
        """Whether nobody used it."""
        return self.method is None


class TokenCounts(NamedTuple):
    """Tokens by who measured them, and those that have no owner or no engine."""

    engine: int = 0
    gateway: int = 0
    unattributed: int = 0
    unmatched: int = 0


@dataclass(slots=True)
class Cell:
    """One cell, shared. Tokens of a unit without GPUs have nobody to pay for them."""

    units: dict[UnitId, Unit]
    engine_tokens: int = 0
    gateway_tokens: int = 0
    unattributed_tokens: int = 0
    unmatched_tokens: int = 0

    @property
    def methods(self) -> set[str]:
        """How costs were divided."""
        return {unit.method for unit in self.units.values() if unit.method is not None}

    @property
    def token_counts(self) -> TokenCounts:
        """All four."""
        return TokenCounts(
            self.engine_tokens, self.gateway_tokens, self.unattributed_tokens, self.unmatched_tokens
        )


# Units with the weights by which tokens are divided among them.
_Candidates = tuple[tuple[UnitId, int], ...]


class _Bucket(NamedTuple):
    """Usage that has the same choice of units for its prompts and for its completions."""

    prompt: _Candidates
    completion: _Candidates
    by_gateway: bool
    item: ItemId


def share(sums: Iterable[Sums], usage: Mapping[Named, Amounts], book: Book, weights: Weights) -> Cell:
    """The cell of this coverage and usage."""
    coverage = _Coverage(sums, book)
    cell = Cell(coverage.units)
    buckets: dict[_Bucket, Amounts] = {}
    for named, amounts in usage.items():
        prompt, completion = coverage.candidates(named)
        bucket = _Bucket(prompt, completion, named.by_gateway, ItemId(named.model, named.whose))
        buckets[bucket] = amounts.and_also(buckets.get(bucket))
    for bucket, amounts in buckets.items():
        if not bucket.by_gateway:
            cell.engine_tokens += amounts.tokens
            _put(cell, bucket, amounts, bucket.prompt, bucket.completion)
    for bucket, amounts in buckets.items():
        if bucket.by_gateway:
            cell.gateway_tokens += amounts.tokens
            _put(cell, bucket, amounts, *_like_engines(cell, bucket))
    for unit_id, unit in cell.units.items():
        _say_whose(cell, unit)
        if unit_id.has_gpus:
            _charge(unit, weights)
    return cell


def unit_of(counted: Sums) -> UnitId:
    """What the time is paid for with."""
    return _deployment_unit(counted.deployment) if counted.deployment else gpu_unit(counted.gpu_id)


# Made once for each, not in each hour.
_MOST_UNITS = 4_096


@lru_cache(_MOST_UNITS)
def _order(whose: Whose) -> tuple[tuple[bool, object], ...]:
    return none_first(whose)


@lru_cache(_MOST_UNITS)
def _deployment_unit(deployment: str) -> UnitId:
    return UnitId(_DEPLOYMENT, deployment)


@lru_cache(_MOST_UNITS)
def gpu_unit(gpu_id: str) -> UnitId:
    """A GPU of no deployment."""
    return UnitId(_GPU, gpu_id)


class _Coverage:
    """Which units there are in the cell, and which of them an event can mean."""

    def __init__(self, sums: Iterable[Sums], book: Book) -> None:
        self._book = book
        self.units: dict[UnitId, Unit] = {}
        self._sums = list(sums)
        self._found: dict[tuple[object, ...], tuple[_Candidates, _Candidates]] = {}
        # By the price as two integers, since to hash a fraction takes long.
        paid_us: dict[tuple[UnitId, str, tuple[int, int]], int] = defaultdict(int)
        usd_per_hour, price = None, (0, 1)
        for counted in self._sums:
            if counted.usd_per_hour is not usd_per_hour:
                usd_per_hour = counted.usd_per_hour
                price = usd_per_hour.as_integer_ratio()
            gpu_id, seen = counted.gpu_id, counted.seen
            unit_id = unit_of(counted)
            unit = self.units.get(unit_id)
            if unit is None:
                unit = self.units[unit_id] = Unit()
            part = unit.gpus.get(gpu_id)
            if part is None:
                part = unit.gpus[gpu_id] = GpuPart()
            part.covered_us += counted.covered_us
            paid_us[unit_id, gpu_id, price] += counted.covered_us
            index, host = seen.gpu_index, seen.host
            if index is not None and (part.gpu_index is None or index < part.gpu_index):
                part.gpu_index = index
            if host is not None and (part.host is None or host < part.host):
                part.host = host
        for (unit_id, gpu_id, ratio), covered_us in paid_us.items():
            self.units[unit_id].gpus[gpu_id].cost_pico += pico_of_ratio(covered_us, *ratio)

    # What events may name is looked up only if some do.

    @cached_property
    def _of_gpu(self) -> dict[str, dict[UnitId, int]]:
        """GPU -> its units with the time that it gave each."""
        gave_us: dict[str, dict[UnitId, int]] = defaultdict(lambda: defaultdict(int))
        for counted in self._sums:
            gave_us[counted.gpu_id][unit_of(counted)] += counted.covered_us
        return gave_us

    @cached_property
    def _seen(self) -> dict[str, list[Seen]]:
        return _grouped((counted.gpu_id, counted.seen) for counted in self._sums)

    @cached_property
    def _by_uuid(self) -> dict[str, list[str]]:
        return _grouped((one.seen.uuid, one.gpu_id) for one in self._sums if one.seen.uuid is not None)

    @cached_property
    def _by_place(self) -> dict[tuple[str | None, int], list[str]]:
        return _grouped(
            ((one.seen.host, one.seen.gpu_index), one.gpu_id)
            for one in self._sums
            if one.seen.gpu_index is not None
        )

    @cached_property
    def _by_host(self) -> dict[str, list[str]]:
        return _grouped((one.seen.host, one.gpu_id) for one in self._sums if one.seen.host is not None)

    def candidates(self, named: Named) -> tuple[_Candidates, _Candidates]:
        """For the prompt and for the completion. Never empty: tokens without a GPU have a unit as well."""
        key = (named.model, *named[2:7], named.piece)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._find(named)
        return found

    def _find(self, named: Named) -> tuple[_Candidates, _Candidates]:
        if named.deployment is not None:
            return self._same(self._deployments([named.deployment]), named)
        if named.gpu_uuids:
            gpus = {gpu for uuid in named.gpu_uuids for gpu in self._by_uuid.get(uuid, ())}
            return self._same(self._units_of(gpus, named.piece), named)
        if named.gpu_index is not None:
            there = self._by_place.get((named.host, named.gpu_index), ())
            return self._same(self._units_of({*there}, named.piece), named)
        for kind, name in (("endpoint", named.endpoint), ("model", named.model)):
            serving = self._book.serving(kind, name, named.piece) if name is not None else ()
            if serving:
                role = {row.id: row.role for row in serving}
                found = self._deployments(role)
                if {"prefill", "decode"} <= {role[unit.name] for unit in found}:
                    return (
                        _sorted({unit: us for unit, us in found.items() if role[unit.name] != "decode"}),
                        _sorted({unit: us for unit, us in found.items() if role[unit.name] != "prefill"}),
                    )
                return self._same(found, named)
        gpus = {*self._by_host.get(named.host, ())} if named.host is not None else set()
        return self._same(self._units_of(gpus, named.piece), named)

    def _same(self, found: dict[UnitId, int], named: Named) -> tuple[_Candidates, _Candidates]:
        candidates = _sorted(found) or ((UnitId(_NO_UNIT, named.deployment or ""), 1),)
        return candidates, candidates

    def _deployments(self, ids: Iterable[str]) -> dict[UnitId, int]:
        units = (UnitId(_DEPLOYMENT, deployment) for deployment in ids)
        return {unit: self.units[unit].covered_us for unit in units if unit in self.units}

    def _units_of(self, gpus: Iterable[str], piece: int) -> dict[UnitId, int]:
        found: dict[UnitId, int] = defaultdict(int)
        for gpu_id in gpus:
            gave_us = self._of_gpu[gpu_id]
            for unit in self._declared(gpu_id, gave_us, piece) or gave_us:
                found[unit] += gave_us[unit]
        return found

    def _declared(self, gpu_id: str, gave_us: Mapping[UnitId, int], piece: int) -> list[UnitId]:
        """The unit that the catalogue says for the event's time, if the GPU gave it time."""
        if len(gave_us) == 1:
            return []
        # A GPU that has moved within the hour may be listed by two places: the catalogue's first counts.
        declared = {
            self._book.deployment_of(seen.uuid, seen.host, seen.gpu_index, piece)
            for seen in self._seen[gpu_id]
        }
        for row in self._book.catalog.deployments:
            if row.id in declared:
                unit = UnitId(_DEPLOYMENT, row.id)
                return [unit] if unit in gave_us else []
        return []


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def _sorted(found: Mapping[UnitId, int]) -> _Candidates:
    return tuple(sorted((unit, us) for unit, us in found.items() if us > 0))


def _put(cell: Cell, bucket: _Bucket, amounts: Amounts, prompt: _Candidates, completion: _Candidates) -> None:
    """Divide the amounts among the units."""
    if len(prompt) > 1 or len(completion) > 1:
        for unit_id, _ in (*prompt, *completion):
            cell.units[unit_id].ambiguous = True
    for unit_id, part in _divided(amounts, prompt, completion):
        # A part may hold nothing; it says nothing then.
        if part.is_empty:
            continue
        unit = cell.units.get(unit_id)
        if unit is None:
            unit = cell.units[unit_id] = Unit()
        side = unit.by_gateway if bucket.by_gateway else unit.by_engine
        side[bucket.item] = part.and_also(side.get(bucket.item))


def _divided(amounts: Amounts, prompt: _Candidates, completion: _Candidates) -> list[tuple[UnitId, Amounts]]:
    if len(prompt) == 1 and prompt == completion:
        return [(prompt[0][0], amounts)]
    parts: dict[UnitId, Amounts] = defaultdict(Amounts)

    def spread(name: str, candidates: _Candidates) -> None:
        weights = [weight for _, weight in candidates]
        for (unit, _), part in zip(
            candidates, divide(getattr(amounts, name), weights, sum(weights)), strict=True
        ):
            setattr(parts[unit], name, part)

    for name in ("uncached_prompt", "cached_prompt", "prefill_us", "requests"):
        spread(name, prompt)
    for name in ("completion", "reasoning", "decode_us"):
        spread(name, completion)
    for part in parts.values():
        part.tell_as(amounts)
    return list(parts.items())


def _like_engines(cell: Cell, bucket: _Bucket) -> tuple[_Candidates, _Candidates]:
    """A gateway's tokens lie where the engines have the model's, if any has."""

    def weighed(candidates: _Candidates, name: str) -> _Candidates:
        if len(candidates) == 1:
            return candidates
        found = [
            (unit, getattr(amounts, name))
            for unit, _ in candidates
            if (amounts := cell.units[unit].by_engine.get(ItemId(bucket.item.model, NOBODY)))
            and getattr(amounts, name)
        ]
        return tuple(found) or candidates

    return weighed(bucket.prompt, "prompt"), weighed(bucket.completion, "completion")


def _say_whose(cell: Cell, unit: Unit) -> None:
    """Make items of what engine and gateway say of the unit; no token is counted twice."""
    if unit.by_gateway and not any(amounts.tokens for amounts in unit.by_engine.values()):
        unit.by_engine, unit.by_gateway = unit.by_gateway, {}
    gateway: dict[str, dict[Whose, Amounts]] = defaultdict(dict)
    models = {item_id.model for item_id, amounts in unit.by_engine.items() if amounts.tokens}
    for (model, whose), amounts in unit.by_gateway.items():
        if model not in models:
            if len(models) > 1:
                cell.unmatched_tokens += amounts.tokens
                continue
            model = next(iter(models))
        gateway[model].setdefault(whose, Amounts()).add(amounts)
    for item_id, amounts in unit.by_engine.items():
        said = gateway.get(item_id.model)
        if item_id.whose == NOBODY and said:
            left = _attribute(unit, item_id.model, amounts, said)
            cell.unattributed_tokens += left if any(part.tokens for part in said.values()) else 0
        else:
            item = unit.items.setdefault(item_id, Item())
            _add(item, amounts.uncached_prompt, amounts.cached_prompt, amounts.completion)
            item.reasoning += amounts.reasoning
            item.requests += amounts.requests


def _add(item: Item, uncached: int, cached: int, completion: int) -> None:
    item.tokens[0] += uncached
    item.tokens[1] += cached
    item.tokens[2] += completion


def _attribute(unit: Unit, model: str, engine: Amounts, gateway: Mapping[Whose, Amounts]) -> int:
    """Divide the engine's tokens among those whom the gateway names; how many are nobody's."""
    keys = sorted(gateway, key=none_first)
    said = [gateway[key] for key in keys]
    if any(amounts.cached_known for amounts in said):
        uncached = _parts(engine.uncached_prompt, [amounts.uncached_prompt for amounts in said])
        cached = _parts(engine.cached_prompt, [amounts.cached_prompt for amounts in said])
    else:
        prompts = [amounts.prompt for amounts in said]
        whole = max(engine.prompt, sum(prompts))
        uncached = _parts(engine.uncached_prompt, prompts, whole)
        cached = _parts(engine.cached_prompt, prompts, whole)
    completions = [amounts.completion for amounts in said]
    completion = _parts(engine.completion, completions)
    reasoning = _parts(engine.reasoning, completions, max(engine.completion, sum(completions)))
    requests = _parts(engine.requests, [amounts.requests for amounts in said])
    for at, key in enumerate([*keys, NOBODY]):
        if not (uncached[at] or cached[at] or completion[at] or reasoning[at] or requests[at]):
            continue
        item = unit.items.setdefault(ItemId(model, key), Item())
        _add(item, uncached[at], cached[at], completion[at])
        item.reasoning += reasoning[at]
        item.requests += requests[at]
    return uncached[-1] + cached[-1] + completion[-1]


def _parts(amount: int, weights: Sequence[int], whole: int | None = None) -> list[int]:
    """A part for each weight, and what is left."""
    if whole is None:
        whole = max(amount, sum(weights))
    parts = divide(amount, weights, whole) if whole else [0] * len(weights)
    return [*parts, amount - sum(parts)]


def _charge(unit: Unit, weights: Weights) -> None:
    """Divide the unit's cost among its items, by model and class."""
    models: dict[str, Amounts] = defaultdict(Amounts)
    for item_id, amounts in unit.by_engine.items():
        models[item_id.model].add(amounts)
    if not any(amounts.tokens for amounts in models.values()):
        return
    unit.method, of_token = _weigh(models, weights)
    # In whole numbers, which are many times as fast as fractions.
    scale = lcm(*(weight.denominator for weight in of_token.values()))
    scaled = {key: weight.numerator * (scale // weight.denominator) for key, weight in of_token.items()}
    parts = [
        (item_id.model, at, item, scaled[item_id.model, at] * item.tokens[at])
        for item_id, item in sorted(
            unit.items.items(), key=lambda entry: (entry[0].model, _order(entry[0].whose))
        )
        for at in range(len(CLASSES))
        if item.tokens[at] and (item_id.model, at) in scaled
    ]
    # A stable sort: within a model and class the items stay in their order.
    parts.sort(key=lambda part: part[:2])
    whole = sum(part[3] for part in parts)
    for part, cost in zip(parts, divide(unit.cost_pico, [part[3] for part in parts], whole), strict=True):
        part[2].cost_pico[part[1]] += cost


def _weigh(models: Mapping[str, Amounts], weights: Weights) -> tuple[str, dict[tuple[str, int], Fraction]]:
    """What one token of a model and class weighs, of those that there are."""
    has_phases = not any(amounts.lacks_prefill or amounts.lacks_decode for amounts in models.values())
    of_class = [getattr(weights, name) for name in CLASSES]
    there = [
        (model, at, count)
        for model, amounts in models.items()
        for at, name in enumerate(CLASSES)
        if (count := getattr(amounts, name))
    ]

    def by_time(amounts: Amounts) -> list[Fraction]:
        uncached, cached = of_class[0] * amounts.uncached_prompt, of_class[1] * amounts.cached_prompt
        if not uncached + cached:
            uncached, cached = Fraction(amounts.uncached_prompt), Fraction(amounts.cached_prompt)
        prompt = uncached + cached
        prefill = amounts.prefill_us / prompt if prompt else Fraction(0)
        decode = Fraction(amounts.decode_us if amounts.completion else 0)
        return [prefill * uncached, prefill * cached, decode]

    if has_phases:
        weighed = {model: by_time(amounts) for model, amounts in models.items()}
        if any(map(any, weighed.values())):
            return PHASE_TIME, {(model, at): weighed[model][at] / count for model, at, count in there}
    weigh = of_class if any(of_class[at] for _, at, _ in there) else [Fraction(1)] * len(CLASSES)
    return WEIGHTS, {(model, at): weigh[at] for model, at, _ in there}
