"""What must hold between the rows of a catalogue: nothing is said twice of one moment."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_token_processor.ledger.catalog import (
    Budget,
    Catalog,
    Dated,
    Deployment,
    Gpu,
    GpuRef,
    Lease,
    Price,
    Selector,
    Weights,
)
from gpu_token_processor.ledger.catalog_fields import CatalogError, at

SECTIONS = ("deployments", "prices", "leases", "gpus", "weights", "energy", "budgets")

EVER_US = -(10**18)
NEVER_US = 10**18

# A kind and its values.
Key = tuple[str | int | None, ...]


class Span(NamedTuple):
    """Time from a moment up to but without another."""

    from_us: int
    to_us: int

    @classmethod
    def of(cls, row: Dated) -> "Span":
        """When a row holds."""
        return cls(
            EVER_US if row.valid_from_us is None else row.valid_from_us,
            NEVER_US if row.valid_to_us is None else row.valid_to_us,
        )

    def within(self, other: "Span") -> "Span":
        """What both have in common; it may be empty."""
        return Span(max(self.from_us, other.from_us), min(self.to_us, other.to_us))

    @property
    def is_empty(self) -> bool:
        """Whether there is no moment in it."""
        return self.from_us >= self.to_us


class Claim(NamedTuple):
    """What only one row of a section may have at a moment, and when a row has it."""

    what: Key
    span: Span


class Gpus:
    """The rows of the section gpus that have a uuid, by host and by card."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._of_host: Mapping[str | None, list[Gpu]] = defaultdict(list)
        self._of_card: Mapping[str | int | None, list[Gpu]] = defaultdict(list)
        for gpu in gpus:
            if gpu.uuid is not None:
                self._of_host[gpu.host].append(gpu)
                self._of_card[gpu.card].append(gpu)

    def claims(self, span: Span, host: str, gpu_index: int | None = None) -> Iterator[Claim]:
        """The uuids that a place has in this time; without an index, those of a host."""
        for gpu in self._of_host.get(host, ()):
            common = span.within(Span.of(gpu))
            if gpu_index in (None, gpu.gpu_index) and not common.is_empty:
                yield Claim(("GPU", gpu.uuid), common)

    def leased(self, span: Span, selector: Selector) -> Iterator[Claim]:
        """The uuids that a lease of a GPU or a host pays for in this time, with the slices of its cards."""
        cards = [Claim(("GPU", selector.value), span)]
        if selector.kind == "host":
            cards = list(self.claims(span, selector.value))
        for card in cards:
            yield card
            for part in self._of_card.get(card.what[1], ()):
                common = card.span.within(Span.of(part))
                if not common.is_empty:
                    yield Claim(("GPU", part.uuid), common)


def key(row: Dated) -> Key:
    """What the row is about: rows of one key follow each other in time."""
    if isinstance(row, Deployment):
        return ("id", row.id)
    if isinstance(row, Budget):
        return ("name", row.name)
    if isinstance(row, Price):
        return (*row.selector, row.market, row.zone)
    if isinstance(row, Lease):
        return tuple(row.selector)
    if isinstance(row, Gpu):
        return ("uuid", row.uuid) if row.uuid is not None else ("place", row.host, row.gpu_index)
    return ()


def label(row: Dated) -> str:
    """The key in a sentence."""
    if isinstance(row, Deployment):
        return row.id
    if isinstance(row, Budget):
        return row.name
    if isinstance(row, Price):
        zone = f", zone {row.zone}" if row.zone is not None else ""
        return f"{row.selector.kind} {row.selector.value}, {row.market}{zone}"
    if isinstance(row, Weights):
        return "the weights of tokens"
    return _words(key(row)) or "the price of energy"


def claims(row: Dated, gpus: Gpus) -> list[Claim]:
    """What no other row of the section may have at the same moment."""
    span = Span.of(row)
    found = [Claim(key(row), span)]
    if isinstance(row, Deployment):
        for gpu in row.gpus:
            found += _gpu_claims(gpu, span, gpus)
    elif isinstance(row, Lease):
        leased = gpus.leased(span, row.selector)
        if row.selector.kind == "uuid":
            return list(leased)
        found += leased
    elif isinstance(row, Gpu) and row.host is not None and row.gpu_index is not None:
        found.append(Claim(("place", row.host, row.gpu_index), span))
    return found


def check(catalog: Catalog, name: Callable[[int, Dated], str] = lambda number, _: f"row {number}") -> None:
    """Raise CatalogError with one sentence. `name` says which row is meant, by its number."""
    gpus = Gpus(catalog.gpus)
    for section in SECTIONS:
        _refuse_overlaps(section, getattr(catalog, section), gpus, name)
    _refuse_gpus_twice(catalog.deployments, gpus, name)
    _refuse_slices_of_slices(catalog.gpus, name)
    _refuse_full_cards(catalog.gpus)


def _gpu_claims(gpu: GpuRef, span: Span, gpus: Gpus) -> Iterator[Claim]:
    if gpu.host is None:
        yield Claim(("GPU", gpu.uuid), span)
    else:
        yield Claim(("GPU", gpu.host, gpu.gpu_index), span)
        yield from gpus.claims(span, gpu.host, gpu.gpu_index)


def _refuse_overlaps(
    section: str, rows: Sequence[Dated], gpus: Gpus, name: Callable[[int, Dated], str]
) -> None:
    claimed: dict[Key, list[tuple[Span, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        for claim in claims(row, gpus):
            claimed[claim.what].append((claim.span, number))
    for what, spans in claimed.items():
        last, owner = Span(EVER_US, EVER_US), -1
        for span, number in sorted(spans):
            if number != owner and span.from_us < last.to_us:
                first, second = sorted((owner, number))
                both = f"{_name(first, rows, name)} and {_name(second, rows, name)}"
                of = label(rows[number]) if what == key(rows[number]) else _words(what)
                raise CatalogError(
                    f"{section}: {both} both have {of} {_since(span.from_us)}: "
                    "let one end before the other begins, or remove it."
                )
            if span.to_us > last.to_us:
                last, owner = span, number


def _refuse_gpus_twice(
    deployments: Sequence[Deployment], gpus: Gpus, name: Callable[[int, Dated], str]
) -> None:
    """One deployment may not have a GPU by its uuid and by its place."""
    for number, row in enumerate(deployments):
        held: dict[Key, list[tuple[Span, GpuRef]]] = defaultdict(list)
        for ref in row.gpus:
            for what, span in _gpu_claims(ref, Span.of(row), gpus):
                for earlier, other in held[what]:
                    common = span.within(earlier)
                    if other != ref and not common.is_empty:
                        raise CatalogError(
                            f"deployments: {_name(number, deployments, name)} has {_words(what)} twice "
                            f"{_since(common.from_us)}, as {other} and as {ref}: keep one."
                        )
                held[what].append((span, ref))


def _refuse_slices_of_slices(gpus: Sequence[Gpu], name: Callable[[int, Dated], str]) -> None:
    """A card is a whole GPU."""
    of_uuid: dict[str, list[int]] = defaultdict(list)
    for number, gpu in enumerate(gpus):
        if gpu.uuid is not None:
            of_uuid[gpu.uuid].append(number)
    for number, part in enumerate(gpus):
        for owner in of_uuid[part.card] if part.card is not None else ():
            card = gpus[owner]
            common = Span.of(part).within(Span.of(card))
            if common.is_empty or (card.card is None and card.share == 1):
                continue
            if card.card is not None:
                says, remedy = f"is a slice of {card.card}", "let each slice name the whole card"
            else:
                says, remedy = f"has a share of {card.share}", "leave that share out"
            raise CatalogError(
                f"gpus: {_name(number, gpus, name)} is a slice of {part.card}, which by "
                f"{_name(owner, gpus, name)} {says} {_since(common.from_us)}: {remedy}."
            )


def _refuse_full_cards(gpus: Sequence[Gpu]) -> None:
    slices: dict[str, list[Gpu]] = defaultdict(list)
    for gpu in gpus:
        if gpu.card is not None:
            slices[gpu.card].append(gpu)
    for card, parts in slices.items():
        for moment in sorted({Span.of(part).from_us for part in parts}):
            total = sum(part.share for part in parts if part.holds(moment))
            if total > 1:
                raise CatalogError(
                    f"gpus: the shares of the slices of card {card} add up to {total} "
                    f"{_since(moment)}: give at most 1."
                )


def _name(number: int, rows: Sequence[Dated], name: Callable[[int, Dated], str]) -> str:
    row = rows[number]
    return name(number + 1, row) + (f" ({row.id})" if isinstance(row, Deployment) else "")


def _since(us: int) -> str:
    return f"from {at(us if us > EVER_US else None, 'the beginning')} on"


def _words(what: Key) -> str:
    """A key in a sentence: its kind, then its values."""
    return " ".join([*map(str, what[:1]), "/".join(map(str, what[1:]))]).strip()
