"""Counted hours as one catalogue sees them: whose the GPUs are, and what they cost."""

from collections import defaultdict
from collections.abc import Iterator

from gpu_token_contracts import gpu_identity

from gpu_token_processor.ledger.book import Book, Seen
from gpu_token_processor.ledger.coverage import EVENT_PRICE, Sums
from gpu_token_processor.ledger.covered import Covered
from gpu_token_processor.ledger.exact import US_PER_HOUR, exact
from gpu_token_processor.ledger.usage import Amounts, Named, Usage, Whose
from gpu_token_processor.rollups.bucket import Content, Said, amounts_of, read_described, read_said

# Each described GPU as the catalogue knows it, with its id.
_Met = list[tuple[Seen, str]]
_Pieces = tuple[int, ...]


class Fitted:
    """An hour that fits."""

    def __init__(
        self, content: Content, book: Book, pieces: _Pieces, met: _Met, named: list[Named], *, is_exact: bool
    ) -> None:
        # Whether the events themselves would give the same.
        self.is_exact = is_exact
        self._content = content
        self._book = book
        self._pieces = pieces
        self._met = met
        self._named = named

    def include_in(self, covered: Covered, usage: Usage) -> None:
        """Add the hour to what has been counted of the time before it."""
        content = self._content
        covered.add(self._sums())
        for track in content.tracks:
            seen, gpu_id = self._met[track.known]
            own = (track.price, track.deployment)
            covered.follow(gpu_id, track.first_us, track.last_us, track.readings, track.gap_us, seen, own)
        covered.span(*(content.covered or (None, None)))
        hour: dict[Named, Amounts] = {}
        for named, numbers in zip(self._named, content.usage, strict=True):
            hour[named] = amounts_of(numbers).and_also(hour.get(named))
        usage.include({content.hour: hour} if hour else {}, *(content.used or (None, None)))

    def _sums(self) -> Iterator[Sums]:
        hour, terms_of = self._content.hour, self._book.terms
        for time in self._content.times:
            seen, gpu_id = self._met[time.known]
            piece = self._pieces[time.piece]
            terms = terms_of(seen, piece)
            price = time.price
            yield Sums(
                hour,
                piece,
                gpu_id,
                seen,
                time.deployment or terms.deployment,
                terms.usd_per_hour if price is None else exact(price),
                terms.source if price is None else EVENT_PRICE,
                time.covered_us,
                time.busy_ppm_us,
                time.power_mw_us,
                time.without_utilization_us,
                time.without_power_us,
            )


class Fitter:
    """One catalogue. What hours have in common is looked up once."""

    def __init__(self, book: Book, gap_us: int) -> None:
        self._book = book
        self._gap_us = gap_us
        self._met: dict[tuple[bytes, _Pieces], tuple[_Met, bool]] = {}
        self._named: dict[tuple[bytes, _Pieces], list[Named]] = {}

    def fit(self, content: Content, *, stands: bool = False) -> Fitted | None:
        """None if the hour must be counted again to be what the catalogue says, or the gap.

        An hour that `stands` cannot be, and is fitted as it was counted: what the catalogue says at the
        beginning of a piece of time holds for all of it, and GPUs that were told apart stay so.
        """
        fitted = self._fit(content, content.from_us)
        if fitted.is_exact:
            return fitted
        # Of readings before the hour only what they say of the hour is left.
        return self._fit(content, content.hour * US_PER_HOUR) if stands else None

    def _fit(self, content: Content, from_us: int) -> Fitted:
        book = self._book
        cuts = {*book.cuts(from_us, content.upto_us)}
        pieces = tuple([book.piece(max(us, from_us)) for us in (from_us, *content.cuts)])
        known = (bytes(content.known), pieces)
        if known not in self._met:
            self._met[known] = self._meet(*known)
        met, are_same = self._met[known]
        said = (bytes(content.said), pieces)
        if said not in self._named:
            self._named[said] = [_named(one, pieces) for one in read_said(content.said)]
        is_exact = are_same and content.gap_us == self._gap_us and cuts <= {*content.cuts}
        return Fitted(content, book, pieces, met, self._named[said], is_exact=is_exact)

    def _meet(self, known: bytes, pieces: _Pieces) -> tuple[_Met, bool]:
        """And whether what was one GPU is one, and what was two is two."""
        met: _Met = []
        ids: dict[int, set[str]] = defaultdict(set)
        for one in read_described(known):
            seen = self._book.identify(one.described, pieces[one.piece])
            gpu_id = gpu_identity(seen)
            met.append((seen, gpu_id))
            ids[one.gpu].add(gpu_id)
        return met, len(ids) == sum(map(len, ids.values())) == len(set().union(*ids.values()))


def _named(said: Said, pieces: _Pieces) -> Named:
    return Named(
        said.model,
        said.by_gateway,
        said.deployment,
        said.gpu_uuids,
        said.host,
        said.gpu_index,
        said.endpoint,
        Whose(*said.whose, said.tags),
        pieces[said.piece],
    )
