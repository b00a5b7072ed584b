"""Usage events to amounts by clock hour, in integers, before anybody knows what they cost."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from gpu_token_contracts import TokenUsage, moment

from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.coverage import OutOfOrderError
from gpu_token_processor.ledger.exact import (
    EVER_US,
    NEVER_US,
    US_PER_HOUR,
    US_PER_MS,
    US_PER_SECOND,
    clock_hours,
    stored_us,
)

GATEWAY = "gateway"

# All that events have in common which are added up: the fields of Named and of Whose, as they come.
_Alike = tuple[Any, ...]
_NEVER = datetime.max.replace(tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Whose(NamedTuple):
    """Who used the tokens; None where the events do not say."""

    team: str | None = None
    tenant: str | None = None
    user: str | None = None
    workload: str | None = None
    api_key_hash: str | None = None
    tags: tuple[tuple[str, str], ...] | None = None


NOBODY = Whose()


def none_first(values: Iterable[Any]) -> tuple[tuple[bool, Any], ...]:
    """Sorts like the values, of which None comes before all else."""
    return tuple((value is not None, "" if value is None else value) for value in values)


class Named(NamedTuple):
    """What an event says of where its tokens were made, and of whose they are."""

    model: str
    by_gateway: bool
    deployment: str | None
    gpu_uuids: tuple[str, ...]
    host: str | None
    gpu_index: int | None
    endpoint: str | None
    whose: Whose
    # The piece of time at which the catalogue is asked.
    piece: int


DIVISIBLE = (
    "uncached_prompt",
    "cached_prompt",
    "completion",
    "reasoning",
    "requests",
    "prefill_us",
    "decode_us",
    "counter_resets",
)
COUNTED = ("events", *DIVISIBLE)
FLAGS = ("lacks_prefill", "lacks_decode", "cached_known")


class Amounts:
    """Sums of one kind of usage within an hour. Phase times in microseconds."""

    __slots__ = (
        "cached_known",
        "cached_prompt",
        "completion",
        "counter_resets",
        "decode_us",
        "events",
        "lacks_decode",
        "lacks_prefill",
        "prefill_us",
        "reasoning",
        "requests",
        "uncached_prompt",
    )

    def __init__(self) -> None:
        self.events = 0
        self.uncached_prompt = 0
        self.cached_prompt = 0
        self.completion = 0
        self.reasoning = 0
        self.requests = 0
        self.prefill_us = 0
        self.decode_us = 0
        self.counter_resets = 0
        # Whether any event with such tokens does not tell the time that they took.
        self.lacks_prefill = False
        self.lacks_decode = False
        # Whether any event tells which prompt tokens were cached.
        self.cached_known = False

    def part(self, since: int, until: int, whole: int) -> "Amounts":
        """What is counted evenly between two moments of a whole interval."""
        part = Amounts()
        for name in DIVISIBLE:
            amount = getattr(self, name)
            setattr(part, name, amount * until // whole - amount * since // whole)
        # An event is counted where it ends.
        part.events = self.events * (until == whole)
        part.tell_as(self)
        return part

    def tell_as(self, whole: "Amounts") -> None:
        """Say of a part what is said of the whole: what is not told matters only where there are tokens."""
        self.lacks_prefill = whole.lacks_prefill and self.prompt > 0
        self.lacks_decode = whole.lacks_decode and self.completion > 0
        self.cached_known = whole.cached_known

    def add(self, other: "Amounts") -> None:
        """Add the other's."""
        self.events += other.events
        self.uncached_prompt += other.uncached_prompt
        self.cached_prompt += other.cached_prompt
        self.completion += other.completion
        self.reasoning += other.reasoning
        self.requests += other.requests
        self.prefill_us += other.prefill_us
        self.decode_us += other.decode_us
        self.counter_resets += other.counter_resets
        self.lacks_prefill |= other.lacks_prefill
        self.lacks_decode |= other.lacks_decode
        self.cached_known |= other.cached_known

    def and_also(self, other: "Amounts | None") -> "Amounts":
        """Both, of which neither is changed; this one itself without another."""
        if other is None:
            return self
        both = Amounts()
        both.add(self)
        both.add(other)
        return both

    @property
    def prompt(self) -> int:
        """Prompt tokens, cached or not."""
        return self.uncached_prompt + self.cached_prompt

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted, as may be of a part of an interval."""
        return not (self.tokens or self.reasoning or self.requests or self.prefill_us or self.decode_us)

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.uncached_prompt + self.cached_prompt + self.completion


class Usage:
    """Takes usage events in order of time; of events with the same id and time the first counts."""

    def __init__(self, book: Book, start_us: int | None, end_us: int | None) -> None:
        self._book = book
        self._start_us = EVER_US if start_us is None else start_us
        self._end_us = NEVER_US if end_us is None else end_us
        self._at_us = EVER_US
        # The events of the latest time.
        self._by_id: dict[str | None, TokenUsage] = {}
        # The hour and the piece of time that the latest event lies in, and the bounds of what is in both.
        self._hour = self._piece = 0
        self._from_us = self._upto_us = EVER_US
        # Where usage is added, by hour and piece, and by all that its events have in common.
        self._cells: dict[tuple[int, int], dict[_Alike, Amounts]] = {}
        self._here: dict[_Alike, Amounts] = {}
        self._shared: dict[Any, Any] = {}
        # An event of between is alone at its time, and of the same hour and piece as the latest.
        self._alone_from = self._alone_upto = _NEVER
        self.hours: dict[int, dict[Named, Amounts]] = {}
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.duplicates = 0
        self.conflicts = 0

    def take(self, events: Iterable[TokenUsage]) -> None:
        """Raises OutOfOrderError if a later event has been there already."""
        latest, here, alone_from, alone_upto = None, self._here, self._alone_from, self._alone_upto
        for usage in events:
            ts, interval_seconds = usage.ts, usage.interval_seconds
            # So it is for nearly all of millions. They need no call from here on.
            if alone_from <= ts < alone_upto and interval_seconds is None:
                alone_from = ts + _MS
                latest = usage
            else:
                if latest is not None:
                    self._remember(latest)
                    latest = None
                counts = self._counts(usage)
                here, alone_from, alone_upto = self._here, self._alone_from, self._alone_upto
                if not counts:
                    continue
            uuids, tags = usage.gpu_uuids, usage.tags
            alike = (
                usage.model,
                usage.measured_by,
                usage.deployment,
                usage.gpu_uuid,
                uuids if uuids is None else tuple(uuids),
                usage.host,
                usage.gpu_index,
                usage.endpoint,
                usage.team,
                usage.tenant,
                usage.user,
                usage.workload,
                usage.api_key_hash,
                tuple(sorted(tags.items())) if tags else None,
            )
            amounts = here.get(alike) if interval_seconds is None else Amounts()
            if amounts is None:
                amounts = self._amounts(self._hour, self._piece, alike)
            prompt, cached, completion = (
                usage.prompt_tokens,
                usage.cached_prompt_tokens,
                usage.completion_tokens,
            )
            amounts.events += 1
            if cached is None:
                amounts.uncached_prompt += prompt
            else:
                amounts.uncached_prompt += prompt - cached
                amounts.cached_prompt += cached
                amounts.cached_known = True
            amounts.completion += completion
            amounts.requests += 1 if usage.requests is None else usage.requests
            if usage.reasoning_tokens is not None:
                amounts.reasoning += usage.reasoning_tokens
            if usage.counter_resets is not None:
                amounts.counter_resets += usage.counter_resets
            if usage.prefill_seconds is not None:
                amounts.prefill_us += round(usage.prefill_seconds * US_PER_SECOND)
            elif prompt:
                amounts.lacks_prefill = True
            if usage.decode_seconds is not None:
                amounts.decode_us += round(usage.decode_seconds * US_PER_SECOND)
            elif completion:
                amounts.lacks_decode = True
            if interval_seconds is not None:
                self._spread(amounts, alike, stored_us(ts), interval_seconds)
        if latest is not None:
            self._remember(latest)

    @property
    def counter_resets(self) -> int:
        """How often counters were found to have begun anew in the range."""
        return sum(amounts.counter_resets for usage in self.hours.values() for amounts in usage.values())

    def include(
        self, hours: Mapping[int, Mapping[Named, Amounts]], first_us: int | None, last_us: int | None
    ) -> None:
        """Add what was counted elsewhere, of other time. The amounts become this one's own."""
        for hour, usage in hours.items():
            here = self.hours.setdefault(hour, {})
            for named, amounts in usage.items():
                known = here.get(named)
                if known is None:
                    here[named] = amounts
                else:
                    known.add(amounts)
        if first_us is not None and last_us is not None:
            self.first_us = first_us if self.first_us is None else min(self.first_us, first_us)
            self.last_us = last_us if self.last_us is None else max(self.last_us, last_us)

    def _remember(self, latest: TokenUsage) -> None:
        self._at_us = stored_us(latest.ts)
        self._by_id = {latest.event_id: latest}
        self._alone_from = latest.ts + _MS
        # No event before it was later.
        self.last_us = self._at_us + US_PER_MS

    def _counts(self, usage: TokenUsage) -> bool:
        """Whether the event counts, at least in part; its time is the latest now."""
        ts_us = stored_us(usage.ts)
        if ts_us < self._at_us:
            raise OutOfOrderError
        if ts_us > self._at_us:
            self._at_us = ts_us
            self._by_id = {usage.event_id: usage}
        elif self._is_known(usage):
            return False
        if not self._from_us <= ts_us < self._upto_us:
            self._turn_to(ts_us)
        within = self._start_us <= ts_us < self._end_us
        if within and usage.interval_seconds is None:
            self._span(ts_us, ts_us + US_PER_MS)
        self._alone_from = usage.ts + _MS if within and self.first_us is not None else _NEVER
        return within or usage.interval_seconds is not None

    def _is_known(self, usage: TokenUsage) -> bool:
        """Whether there is one of its id and time."""
        known = None if usage.event_id is None else self._by_id.get(usage.event_id)
        if known is None:
            self._by_id[usage.event_id] = usage
            return False
        self.duplicates += known == usage
        self.conflicts += known != usage
        return True

    def _turn_to(self, ts_us: int) -> None:
        self._hour = ts_us // US_PER_HOUR
        self._piece = self._book.piece(ts_us)
        from_us, upto_us = self._book.bounds(self._piece)
        self._from_us = max(self._hour * US_PER_HOUR, from_us)
        self._upto_us = min((self._hour + 1) * US_PER_HOUR, upto_us)
        self._alone_upto = moment(min(self._upto_us, self._end_us))
        self._cells = {}
        self._here = self._cells.setdefault((self._hour, self._piece), {})

    def _span(self, begins_us: int, ends_us: int) -> None:
        self.first_us = begins_us if self.first_us is None else min(self.first_us, begins_us)
        self.last_us = ends_us if self.last_us is None else max(self.last_us, ends_us)

    def _spread(self, whole: Amounts, alike: _Alike, ts_us: int, interval_seconds: float) -> None:
        """Each hour gets what was counted by its end, less what was counted by its beginning."""
        length_us = max(1, round(interval_seconds * US_PER_SECOND))
        begun_us = ts_us - length_us
        begins_us, ends_us = max(begun_us, self._start_us), min(ts_us, self._end_us)
        if begins_us >= ends_us:
            return
        self._span(begins_us // US_PER_MS * US_PER_MS, ends_us)
        piece = self._book.piece(ts_us - 1)
        for hour, from_us, upto_us in clock_hours(begins_us, ends_us):
            part = whole.part(from_us - begun_us, upto_us - begun_us, length_us)
            self._amounts(hour, piece, alike).add(part)

    def _amounts(self, hour: int, piece: int, alike: _Alike) -> Amounts:
        """Where such usage belongs."""
        cell = self._cells.setdefault((hour, piece), {})
        amounts = cell.get(alike)
        if amounts is None:
            # Equal texts become one, of which the processor's cache holds more.
            alike = tuple([self._shared.setdefault(one, one) for one in alike])
            amounts = self.hours.setdefault(hour, {}).setdefault(_named(piece, *alike), Amounts())
            cell[alike] = amounts
        return amounts


def _named(
    piece: int,
    model: str,
    measured_by: str | None,
    deployment: str | None,
    gpu_uuid: str | None,
    gpu_uuids: tuple[str, ...] | None,
    host: str | None,
    gpu_index: int | None,
    endpoint: str | None,
    *whose: Any,
) -> Named:
    uuids = (gpu_uuids or ()) if gpu_uuid is None else (gpu_uuid,)
    by_gateway = measured_by == GATEWAY
    return Named(model, by_gateway, deployment, uuids, host, gpu_index, endpoint, Whose(*whose), piece)
