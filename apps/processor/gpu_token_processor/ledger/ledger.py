"""Takes events in order of time, and answers what they cost and whose they are. Rules: docs/cost-model.md."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import chain
from typing import Literal

from gpu_token_processor.ledger.book import DEFAULT_PRICE, Book
from gpu_token_processor.ledger.catalog import Lease
from gpu_token_processor.ledger.cells import Cell, Item, TokenCounts, share
from gpu_token_processor.ledger.coverage import Coverage, Sums
from gpu_token_processor.ledger.covered import Covered
from gpu_token_processor.ledger.exact import US_PER_HOUR, US_PER_SECOND, pico
from gpu_token_processor.ledger.folded import Folded, key_of, sum_folded
from gpu_token_processor.ledger.question import Question, period, require_few_steps
from gpu_token_processor.ledger.totals import Adding, ShareKey, Silent, Span, Totals, shares_of
from gpu_token_processor.ledger.usage import Amounts, Named, Usage

# Events, hours that had been counted before, or some of each.
ReadFrom = Literal["raw", "rollups", "both"]


class Ledger:
    """Everything that one question needs of its events."""

    def __init__(self, book: Book, question: Question) -> None:
        self.book = book
        self.question = question
        self.coverage: Coverage | Covered = Coverage(
            book, question.start_us, question.end_us, question.gap_us
        )
        self.usage = Usage(book, question.start_us, question.end_us)
        # Whole days that were shared before, in order.
        self.folded: list[Folded] = []
        # What was read for it.
        self.read_from: ReadFrom = "raw"
        # Parts of the range whose events were deleted before its hours were counted as a whole.
        self.deleted: list[tuple[int, int]] = []
        # Whether events of the range may have been deleted of which nothing at all is known any more.
        self.may_lack_events = False
        # What lies behind it is not leased yet; None: all time is over.
        self.leased_upto_us: int | None = None
        # Hours that the catalogue would have divided otherwise, if their events were still there.
        self.approximate_hours = 0
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
    def whole_sums(self) -> list[Sums]:
        """The same over all hours: one for each GPU, price, deployment and piece of time."""
        whole: dict[tuple[object, ...], tuple[Sums, list[int]]] = {}
        for counted in chain(self.sums, *(folded.sums() for folded in self._folded)):
            _, piece, gpu_id, seen, deployment, usd_per_hour, source, *amounts = counted
            key = (piece, gpu_id, seen, deployment, usd_per_hour.as_integer_ratio(), source)
            known = whole.get(key)
            if known is None:
                whole[key] = counted, amounts
            else:
                for at, amount in enumerate(amounts):
                    known[1][at] += amount
        return [Sums(*first[:7], *amounts) for first, amounts in whole.values()]

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
        parts: list[Iterable[tuple[Named, Amounts]]] = [usage.items() for usage in self.usage.hours.values()]
        parts += [folded.usage() for folded in self._folded]
        for named, amounts in chain.from_iterable(parts):
            if wanted(named):
                known = whole.get(named)
                if known is None:
                    known = whole[named] = Amounts()
                known.add(amounts)
        return whole

    def as_one_cell(self, sums: list[Sums], usage: Mapping[Named, Amounts]) -> Cell:
        """All of the range shared at once, whatever the hours."""
        start_us = self.bounds[0] if self.bounds else 0
        return share(sums, usage, self.book, self.book.weights(start_us))

    def totals(self) -> Totals:
        """Rows, idle time and methods."""
        adding = Adding(self.question)
        for hour, cell in self.cells.items():
            adding.cell(period(hour, self.question.step), cell)
        for span, folded in self._folded_by_step():
            folded.add_to(adding, span)
        for lease in self.book.catalog.leases:
            if not adding.asks_for(*lease.selector):
                continue
            lease_key = key_of(lease)
            for hour, silent in self.silent(lease):
                adding.silent(period(hour, self.question.step), silent)
            for stretch in self.folded:
                if lease_key in stretch.silent:
                    adding.silent(period(stretch.hour, self.question.step), stretch.silent[lease_key])
        return adding.totals

    def _folded_by_step(self) -> Iterator[tuple[Span, Folded]]:
        by_step: dict[Span, list[Folded]] = defaultdict(list)
        for stretch in self.folded:
            by_step[period(stretch.hour, self.question.step)].append(stretch)
        for span, stretches in by_step.items():
            for summed in sum_folded(stretches):
                yield span, summed

    @cached_property
    def _folded(self) -> list[Folded]:
        return sum_folded(self.folded)

    def shares(self) -> Iterator[tuple[ShareKey, Item]]:
        """What each user has, in parts that add up."""
        for cell in self.cells.values():
            yield from shares_of(cell, by_gpu=False)
        for folded in self._folded:
            yield from folded.shares()

    @property
    def token_counts(self) -> TokenCounts:
        """Of all hours."""
        counts: list[Sequence[int]] = [cell.token_counts for cell in self.cells.values()]
        counts += [folded.numbers.tokens for folded in self._folded]
        return TokenCounts(*map(sum, zip(*counts, strict=True)))

    @property
    def counter_resets(self) -> int:
        """How often counters were found to have begun anew."""
        return self.usage.counter_resets + sum(
            amounts.counter_resets for folded in self._folded for _, amounts in folded.usage()
        )

    @cached_property
    def _reported_us(self) -> dict[tuple[str, str | None, int, int], Fraction | int]:
        """Covered time by what leases may name, hour and piece."""
        reported_us: dict[tuple[str, str | None, int, int], Fraction | int] = defaultdict(int)
        for counted in self.sums:
            seen, hour, piece = counted.seen, counted.hour, counted.piece
            terms = self.book.terms(seen, piece)
            # Leases of hosts and of cards count whole cards, of which a slice is a part.
            part_us = counted.covered_us if terms.share == 1 else counted.covered_us * terms.share
            reported_us["host", seen.host, hour, piece] += part_us
            if terms.card is not None:
                reported_us["uuid", terms.card, hour, piece] += part_us
            if terms.card != seen.uuid:
                reported_us["uuid", seen.uuid, hour, piece] += counted.covered_us
        return reported_us

    @cached_property
    def _reported_hours(self) -> dict[tuple[str, str | None], list[int]]:
        """The hours in which there is covered time, by what leases may name, ascending."""
        hours: dict[tuple[str, str | None], set[int]] = defaultdict(set)
        for kind, value, hour, _ in self._reported_us:
            hours[kind, value].add(hour)
        return {named: sorted(some) for named, some in hours.items()}

    def silent(self, lease: Lease) -> Iterator[tuple[int, Silent]]:
        """Leased time that no reading covers, by the first of its hours, which lie in one step.

        What is folded is left out, and so is what is deleted: nobody knows of it.
        """
        for start_us, end_us in self._unfolded():
            at_us = start_us if lease.valid_from_us is None else max(start_us, lease.valid_from_us)
            ends_us = end_us if lease.valid_to_us is None else min(end_us, lease.valid_to_us)
            if self.leased_upto_us is not None:
                ends_us = min(ends_us, self.leased_upto_us)
            while at_us < ends_us:
                hour = at_us // US_PER_HOUR
                hours = self._silent_hours(lease, at_us, ends_us)
                if hours:
                    yield hour, self._silent_in(lease, at_us, at_us + US_PER_HOUR).times(hours)
                    at_us += hours * US_PER_HOUR
                else:
                    upto_us = min(ends_us, (hour + 1) * US_PER_HOUR)
                    yield hour, self._silent_in(lease, at_us, upto_us)
                    at_us = upto_us

    def _silent_hours(self, lease: Lease, at_us: int, ends_us: int) -> int:
        """How many full hours from here on have no covered time, and lie in one piece and one step."""
        if at_us % US_PER_HOUR:
            return 0
        hour = at_us // US_PER_HOUR
        _, piece_upto_us = self.book.bounds(self.book.piece(at_us))
        _, step_upto_us = period(hour, self.question.step) or (at_us, ends_us)
        upto = min(ends_us, piece_upto_us, step_upto_us) // US_PER_HOUR
        reported = self._reported_hours.get(lease.selector, [])
        later = bisect_left(reported, hour)
        if later < len(reported):
            upto = min(upto, reported[later])
        return max(0, upto - hour)

    def _silent_in(self, lease: Lease, from_us: int, upto_us: int) -> Silent:
        """Within one clock hour."""
        kind, value = lease.selector
        hour = from_us // US_PER_HOUR
        silent_us: dict[tuple[Fraction, str], Fraction] = defaultdict(Fraction)
        for piece, piece_from_us, piece_upto_us in self.book.pieces(from_us, upto_us):
            length_us = lease.gpus * (piece_upto_us - piece_from_us)
            silent_us[self.book.lease_price(lease, piece_from_us)] += max(
                Fraction(0), length_us - self._reported_us[kind, value, hour, piece]
            )
        return _summed(silent_us)

    def _unfolded(self) -> Iterator[tuple[int, int]]:
        """The parts of the range that are neither folded nor deleted, in microseconds."""
        if self.bounds is None:
            return
        at_us, end_us = self.bounds
        folded = [(one.hour * US_PER_HOUR, (one.hour + one.hours) * US_PER_HOUR) for one in self.folded]
        for from_us, upto_us in sorted((*folded, *self.deleted)):
            yield at_us, from_us
            at_us = upto_us
        yield at_us, end_us

    @property
    def deleted_us(self) -> int:
        """How much of the range is not in the answer."""
        return sum(upto_us - from_us for from_us, upto_us in self.deleted)

    def covered_us(self, wanted: Callable[[Sums], int] = lambda counted: counted.covered_us) -> Fraction:
        """Of all GPUs, in time of whole cards: a slice counts as its part of one."""
        by_share: dict[Fraction, int] = defaultdict(int)
        for one in self.whole_sums:
            by_share[self.book.terms(one.seen, one.piece).share] += wanted(one)
        return sum((share * us for share, us in by_share.items()), Fraction(0))

    @property
    def gap_us(self) -> int:
        """Time between two readings of a GPU that neither covers."""
        return sum(track.gap_us for track in self.coverage.tracks.values())


def _summed(silent_us: Mapping[tuple[Fraction, str], Fraction]) -> Silent:
    silent = Silent()
    for (usd_per_hour, source), time_us in silent_us.items():
        silent.time_us += time_us
        silent.at_default_us += time_us if source == DEFAULT_PRICE else 0
        silent.cost_pico += pico(time_us, usd_per_hour)
    return silent
