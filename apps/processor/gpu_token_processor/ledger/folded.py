"""A stretch of hours that has been counted and shared, summed up as one catalogue sees it.

Stretches of the same users and GPUs have the same keys. So they are summed number by number, which is many
times as fast as sharing each of their hours again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import msgspec

from gpu_token_processor.ledger.book import Seen
from gpu_token_processor.ledger.catalog import Lease
from gpu_token_processor.ledger.cells import Item
from gpu_token_processor.ledger.coverage import Own, Sums
from gpu_token_processor.ledger.covered import Covered
from gpu_token_processor.ledger.totals import Adding, Place, ShareKey, Silent, Span
from gpu_token_processor.ledger.usage import COUNTED, FLAGS, Amounts, Named

_ITEM = 8
_IDLE = 2
_SUMS = 5
_USAGE = len(FLAGS) + len(COUNTED)
_TRACK = 4


class SumsKey(NamedTuple):
    """The fields of Sums that are not counted, but for the hour; the price as a ratio."""

    piece: int
    gpu_id: str
    seen: Seen
    deployment: str | None
    usd: int
    hours: int
    source: str


# The GPU, as its last reading of the stretch describes it.
TrackKey = tuple[str, Seen, Own]


class Keys(msgspec.Struct, array_like=True, frozen=True):
    """What the numbers of a stretch are about, in their order."""

    shares: list[ShareKey]
    idle: list[Place]
    sums: list[SumsKey]
    usage: list[Named]
    tracks: list[TrackKey]


class Numbers(msgspec.Struct, array_like=True, frozen=True):
    """What is summed; of each key as many numbers in a row as it has."""

    shares: list[int]
    # Idle time: its cost in 1e-12 USD, and how long.
    idle: list[int]
    sums: list[int]
    usage: list[int]
    # As TokenCounts.
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Folded:
    """`hours` clock hours from `hour` on."""

    hour: int
    hours: int
    keys: Keys
    numbers: Numbers
    methods: frozenset[str]
    # The shares by GPU, where they are asked for.
    gpu_keys: list[ShareKey] = field(default_factory=list)
    on_gpus: list[int] = field(default_factory=list)
    # Of each track the first and the last moment, readings and time in gaps. Only of one stretch.
    tracks: list[int] = field(default_factory=list)
    # By the lease. Only of one stretch.
    silent: Mapping[str, Silent] = field(default_factory=dict)

    def shares(self) -> Iterator[tuple[ShareKey, Item]]:
        """What each user has."""
        return zip(self.keys.shares, _items(self.numbers.shares), strict=True)

    def sums(self) -> Iterator[Sums]:
        """Covered time."""
        for key, counted in zip(self.keys.sums, _rows(self.numbers.sums, _SUMS), strict=True):
            piece, gpu_id, seen, deployment, usd, hours, source = key
            yield Sums(self.hour, piece, gpu_id, seen, deployment, Fraction(usd, hours), source, *counted)

    def usage(self) -> Iterator[tuple[Named, Amounts]]:
        """What the events say."""
        for named, numbers in zip(self.keys.usage, _rows(self.numbers.usage, _USAGE), strict=True):
            amounts = Amounts()
            for name, number in zip(FLAGS, numbers, strict=False):
                setattr(amounts, name, number > 0)
            for name, number in zip(COUNTED, numbers[len(FLAGS) :], strict=True):
                setattr(amounts, name, number)
            yield named, amounts

    def add_to(self, adding: Adding, span: Span) -> None:
        """Add all but what is silent."""
        adding.totals.methods |= self.methods
        on_gpus = zip(self.gpu_keys, _items(self.on_gpus), strict=True)
        for key, item in on_gpus if adding.by_gpu else self.shares():
            adding.item(span, key, item)
        for place, (cost_pico, covered_us) in zip(
            self.keys.idle, _rows(self.numbers.idle, _IDLE), strict=True
        ):
            adding.idle(span, place, cost_pico, covered_us)

    def follow_in(self, covered: Covered) -> None:
        """Say what the stretch knows of each GPU as a whole; `covered` has all that came before."""
        for (gpu_id, seen, own), (first_us, last_us, readings, gap_us) in zip(
            self.keys.tracks, _rows(self.tracks, _TRACK), strict=True
        ):
            covered.follow(gpu_id, first_us, last_us, readings, gap_us, seen, own)


def key_of(lease: Lease) -> str:
    """What a lease is known by: catalogues of one version may list their leases in another order."""
    return repr(lease)


def sum_folded(stretches: Iterable[Folded]) -> list[Folded]:
    """One for each kind of keys."""
    alike: dict[tuple[int, int], list[Folded]] = defaultdict(list)
    for stretch in stretches:
        alike[id(stretch.keys), id(stretch.gpu_keys)].append(stretch)
    return [_sum(some) for some in alike.values()]


def _sum(alike: Sequence[Folded]) -> Folded:
    first = alike[0]
    if len(alike) == 1:
        return first
    return Folded(
        first.hour,
        sum(one.hours for one in alike),
        first.keys,
        Numbers(
            *(_added([getattr(one.numbers, name) for one in alike]) for name in Numbers.__struct_fields__)
        ),
        frozenset().union(*(one.methods for one in alike)),
        first.gpu_keys,
        _added([one.on_gpus for one in alike]),
    )


def _added(rows: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def item_numbers(item: Item) -> list[int]:
    """As Numbers has it."""
    return [*item.tokens, item.reasoning, item.requests, *item.cost_pico]


def usage_numbers(amounts: Amounts) -> list[int]:
    """As Numbers has it."""
    return [int(getattr(amounts, name)) for name in (*FLAGS, *COUNTED)]


def _rows(numbers: Sequence[int], width: int) -> Iterator[tuple[int, ...]]:
    return zip(*[iter(numbers)] * width, strict=True)


def _items(numbers: Sequence[int]) -> Iterator[Item]:
    for first, second, third, reasoning, requests, *cost_pico in _rows(numbers, _ITEM):
        yield Item([first, second, third], reasoning, requests, cost_pico)
