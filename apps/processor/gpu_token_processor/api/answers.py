"""Computes the API's answers from what MongoDB has."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from gpu_token_contracts import dlq_topic, moment

from gpu_token_processor.api.cost_answer import EMPTY_RANGE, NO_EVENTS, cost_answer, sum_tokens
from gpu_token_processor.api.gpus import list_gpus
from gpu_token_processor.api.models import (
    CostAnswer,
    DeadLetters,
    DeadLettersAnswer,
    GpuInfoAnswer,
    ModelUsage,
    ThroughputAnswer,
    UsageAnswer,
    Window,
)
from gpu_token_processor.ledger.answer import ledger_fields
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.exact import US_PER_SECOND, exact, stored_us
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.question import Basis, Question, Step
from gpu_token_processor.rollups.view import NO_ROLLUPS, Rollups, fill, usage_sums
from gpu_token_processor.selection import Range, Selection
from gpu_token_processor.store.reads import Reads

T = TypeVar("T")

# The resolution of stored times: a window that ends with an event ends this much after it.
_RESOLUTION = timedelta(milliseconds=1)


class Asked(NamedTuple):
    """Bounds as the caller gave them."""

    start: datetime | None
    end: datetime | None

    def as_stored(self) -> "Asked":
        """Cut to the resolution of stored times, as the events are."""
        return Asked(*(None if bound is None else moment(stored_us(bound)) for bound in self))


class Shown(NamedTuple):
    """How the ledger is shown; see Question."""

    step: Step | None = None
    group_by: tuple[str, ...] = ("model",)
    basis: Basis = "covered"
    where: tuple[tuple[str, str], ...] = ()


_BY_MODEL = Shown()


class Answers:
    """Computes everything from the store, so that all processors give the same answers."""

    def __init__(
        self,
        reads: Reads,
        window_seconds: float,
        gap_seconds: float,
        default_price_usd: float,
        price_per_kwh_usd: float | None,
        rollups: Rollups = NO_ROLLUPS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._reads = reads
        self._window = timedelta(seconds=window_seconds)
        self._gap_seconds = gap_seconds
        self._gap_us = round(gap_seconds * US_PER_SECOND)
        self._rollups = rollups
        self._default_price_usd = default_price_usd
        self._price_per_kwh_usd = price_per_kwh_usd

    def require_store(self) -> None:
        """Raises PyMongoError if there is no store."""
        self._reads.connect()

    def usage(
        self, asked: Asked, of: Selection, shown: Shown | None, limit: int, cursor: str | None
    ) -> UsageAnswer:
        """Totals by model, and, if asked for, by group; of everything when no bound is given."""
        window = self._usage_window(asked)
        models = self._models(window, of)
        page, next_cursor = _page(models, limit, cursor, key=lambda item: item.model)
        return UsageAnswer(
            window=window,
            reason=_reason_for_nothing(window, models),
            totals=sum_tokens(models),
            items=page,
            next_cursor=next_cursor,
            **(ledger_fields(self._ledger(window, shown)) if shown else {}),
        )

    def throughput(self, asked: Asked, of: Selection, shown: Shown | None) -> ThroughputAnswer:
        """Rates over the window, and, if asked for, by group."""
        window = self._bounded_window(asked)
        models = self._models(window, of)
        tokens = sum_tokens(models)
        seconds = window.seconds or None

        def rate(count: int) -> float | None:
            return count / seconds if seconds else None

        return ThroughputAnswer(
            window=window,
            reason=_reason_for_nothing(window, models),
            tokens=tokens,
            events_per_second=rate(tokens.events),
            prompt_tokens_per_second=rate(tokens.prompt_tokens),
            completion_tokens_per_second=rate(tokens.completion_tokens),
            total_tokens_per_second=rate(tokens.total_tokens),
            **(ledger_fields(self._ledger(window, shown)) if shown else {}),
        )

    def cost(self, asked: Asked, of: Selection, shown: Shown = _BY_MODEL) -> CostAnswer:
        """What tokens cost over the window; see docs/cost-model.md."""
        window = self._bounded_window(asked)
        ledger = self._ledger(window, shown)
        return cost_answer(ledger, window, of, self._price_per_kwh_usd)

    def _models(self, window: Window, of: Selection) -> list[ModelUsage]:
        """By model. What a gateway measured counts where no engine measured the model: no token twice."""
        rows = [] if _is_empty(window) else usage_sums(self._reads, self._rollups, _bounds_us(window), of)
        by_engine = {row.model for row in rows if not row.by_gateway}
        return [
            ModelUsage(
                model=row.model,
                events=row.events,
                prompt_tokens=row.prompt_tokens,
                completion_tokens=row.completion_tokens,
                total_tokens=row.prompt_tokens + row.completion_tokens,
            )
            for row in sorted(rows)
            if not (row.by_gateway and row.model in by_engine)
        ]

    def _ledger(self, window: Window, shown: Shown) -> Ledger:
        empty = (window.seconds is None and window.chosen_by == "latest_event") or _is_empty(window)
        start_us, end_us = _bounds_us(window)
        book = Book(self._reads.catalog(), exact(self._default_price_usd))
        question = Question(start_us=start_us, end_us=end_us, gap_us=self._gap_us, **shown._asdict())
        ledger = Ledger(book, question)
        ledger.leased_upto_us = stored_us(self._now())
        if not empty:
            fill(ledger, self._reads, self._rollups)
            ledger.dead_letters = self._reads.dead_letters_in(Range(window.start, window.end))
        ledger.finish()
        return ledger

    def gpus(self, host: str | None, name: str | None, limit: int, cursor: str | None) -> GpuInfoAnswer:
        """The latest reading of each GPU."""
        now = self._reads.latest_event_time(not_after=self._now())
        book = Book(self._reads.catalog(), exact(self._default_price_usd))
        readings = self._reads.latest_readings(host, name)
        return list_gpus(readings, now, self._gap_seconds, book, limit, cursor)

    def dead_letters(self) -> DeadLettersAnswer:
        """Refused events by topic and reason."""
        items = [
            DeadLetters(
                topic=count.topic,
                dlq_topic=dlq_topic(count.topic),
                reason=count.reason,
                events=count.events,
                latest=count.latest,
            )
            for count in self._reads.dead_letters()
        ]
        return DeadLettersAnswer(total=sum(item.events for item in items), items=items)

    def _usage_window(self, asked: Asked) -> Window:
        asked = asked.as_stored()
        if asked.start is None and asked.end is None:
            return Window(start=None, end=None, seconds=None, chosen_by="everything")
        seconds = (asked.end - asked.start).total_seconds() if asked.start and asked.end else None
        return Window(start=asked.start, end=asked.end, seconds=seconds, chosen_by="request")

    def _bounded_window(self, asked: Asked) -> Window:
        """Where a bound is missing: the end is the latest event that is not ahead of the clock.

        The start lies WINDOW_SECONDS before.
        """
        asked = asked.as_stored()
        end = asked.end
        if end is None:
            latest = self._reads.latest_event_time(not_after=self._now())
            if latest is None:
                return Window(start=asked.start, end=None, seconds=None, chosen_by="latest_event")
            end = latest + _RESOLUTION
        start = asked.start if asked.start is not None else end - self._window
        seconds = (end - start).total_seconds()
        chosen_by = "request" if asked.start is not None or asked.end is not None else "latest_event"
        return Window.model_validate({"start": start, "end": end, "seconds": seconds, "chosen_by": chosen_by})


def _bounds_us(window: Window) -> tuple[int | None, int | None]:
    start, end = window.start, window.end
    return None if start is None else stored_us(start), None if end is None else stored_us(end)


def _is_empty(window: Window) -> bool:
    return window.seconds is not None and window.seconds <= 0


def _reason_for_nothing(window: Window, models: list[ModelUsage]) -> str | None:
    if _is_empty(window):
        return EMPTY_RANGE
    return None if models else NO_EVENTS


def _page(
    items: list[T], limit: int, cursor: str | None, key: Callable[[T], str]
) -> tuple[list[T], str | None]:
    """The first `limit` items after `cursor`, and the cursor of the next page; items are in order of key."""
    rest = [item for item in items if cursor is None or key(item) > cursor]
    return rest[:limit], key(rest[limit - 1]) if len(rest) > limit else None
