"""Computes the API's answers from what MongoDB has."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from gpu_token_contracts import dlq_topic

from gpu_token_processor import cost
from gpu_token_processor.api.models import (
    Cost,
    CostAnswer,
    DeadLetters,
    DeadLettersAnswer,
    EnergyCost,
    GpuInfo,
    GpuInfoAnswer,
    GpuShare,
    ModelCost,
    ModelUsage,
    ThroughputAnswer,
    Tokens,
    UsageAnswer,
    Window,
    plain,
)
from gpu_token_processor.cost import GpuCost, Prices, UsageRow
from gpu_token_processor.documents import Document
from gpu_token_processor.store.reads import Range, Reads, Selection

T = TypeVar("T")

# The resolution of stored times: a window that ends with an event ends this much after it.
_RESOLUTION = timedelta(milliseconds=1)

NO_EVENTS = "no_events"
NO_TOKENS = "no_tokens"
NO_GPU_METRICS = "no_gpu_metrics"
EMPTY_RANGE = "empty_range"


class Asked(NamedTuple):
    """Bounds as the caller gave them."""

    start: datetime | None
    end: datetime | None


class Answers:
    """Computes everything from the store, so that all processors give the same answers."""

    def __init__(
        self,
        reads: Reads,
        window_seconds: float,
        gap_seconds: float,
        default_price_usd: float,
        price_per_kwh_usd: float | None,
    ) -> None:
        self._reads = reads
        self._window = timedelta(seconds=window_seconds)
        self._gap_seconds = gap_seconds
        self._default_price_usd = default_price_usd
        self._price_per_kwh_usd = price_per_kwh_usd

    def require_store(self) -> None:
        """Raises PyMongoError if there is no store."""
        self._reads.connect()

    def usage(self, asked: Asked, of: Selection, limit: int, cursor: str | None) -> UsageAnswer:
        """Totals by model; of everything when no bound is given."""
        window = self._usage_window(asked)
        rows = [] if _is_empty(window) else self._reads.usage(Range(window.start, window.end), of)
        page, next_cursor = _page(_by_model(rows), limit, cursor, key=lambda item: item.model)
        return UsageAnswer(
            window=window,
            reason=_reason_for_nothing(window, rows),
            totals=_tokens(rows),
            items=page,
            next_cursor=next_cursor,
        )

    def throughput(self, asked: Asked, of: Selection) -> ThroughputAnswer:
        """Rates over the window."""
        window = self._bounded_window(asked)
        rows = [] if _is_empty(window) else self._reads.usage(Range(window.start, window.end), of)
        tokens = _tokens(rows)
        seconds = window.seconds or None

        def rate(count: int) -> float | None:
            return count / seconds if seconds else None

        return ThroughputAnswer(
            window=window,
            reason=_reason_for_nothing(window, rows),
            tokens=tokens,
            events_per_second=rate(tokens.events),
            prompt_tokens_per_second=rate(tokens.prompt_tokens),
            completion_tokens_per_second=rate(tokens.completion_tokens),
            total_tokens_per_second=rate(tokens.total_tokens),
        )

    def cost(self, asked: Asked, of: Selection) -> CostAnswer:
        """What tokens cost over the window; see docs/cost-model.md."""
        window = self._bounded_window(asked)
        gpus, rows = self._gpus_and_usage(window, of)
        tokens = _tokens(rows)
        total = tokens.total_tokens
        wall_clock = cost.share(gpus, rows, lambda gpu: gpu.wall_clock_usd)
        weighted = cost.share(gpus, rows, lambda gpu: gpu.utilization_weighted_usd)
        return CostAnswer(
            window=window,
            reason=_reason_for_no_cost(window, gpus, total),
            tokens=tokens,
            gpu_seconds=sum(gpu.covered_seconds for gpu in gpus),
            gap_seconds=sum(gpu.gap_seconds for gpu in gpus),
            wall_clock=_cost(sum(gpu.wall_clock_usd for gpu in gpus) if gpus else None, total),
            utilization_weighted=_cost(
                sum(gpu.utilization_weighted_usd for gpu in gpus) if gpus else None, total
            ),
            energy=self._energy(gpus, total),
            idle_usd=wall_clock.idle_usd,
            gpus=[_gpu_share(gpu, wall_clock.gpu_tokens.get(gpu.gpu_id)) for gpu in gpus],
            models=[
                ModelCost(
                    **usage.model_dump(),
                    wall_clock=_cost(wall_clock.model_usd.get(usage.model), usage.total_tokens),
                    utilization_weighted=_cost(weighted.model_usd.get(usage.model), usage.total_tokens),
                )
                for usage in _by_model(rows)
            ],
        )

    def gpus(self, host: str | None, name: str | None, limit: int, cursor: str | None) -> GpuInfoAnswer:
        """The latest reading of each GPU."""
        now = self._reads.latest_event_time()
        infos = [self._gpu_info(document, now) for document in self._reads.latest_readings(host, name)]
        page, next_cursor = _page(infos, limit, cursor, key=lambda item: item.gpu_id)
        return GpuInfoAnswer(
            latest=max(infos, key=lambda info: info.ts, default=None), items=page, next_cursor=next_cursor
        )

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
        if asked.start is None and asked.end is None:
            return Window(start=None, end=None, seconds=None, chosen_by="everything")
        seconds = (asked.end - asked.start).total_seconds() if asked.start and asked.end else None
        return Window(start=asked.start, end=asked.end, seconds=seconds, chosen_by="request")

    def _bounded_window(self, asked: Asked) -> Window:
        """Where a bound is missing: the end is the latest event, the start lies WINDOW_SECONDS before."""
        end = asked.end
        if end is None:
            latest = self._reads.latest_event_time()
            if latest is None:
                return Window(start=asked.start, end=None, seconds=None, chosen_by="latest_event")
            end = latest + _RESOLUTION
        start = asked.start if asked.start is not None else end - self._window
        seconds = (end - start).total_seconds()
        chosen_by = "request" if asked.start is not None or asked.end is not None else "latest_event"
        return Window.model_validate({"start": start, "end": end, "seconds": seconds, "chosen_by": chosen_by})

    def _gpus_and_usage(self, window: Window, of: Selection) -> tuple[list[GpuCost], list[UsageRow]]:
        if window.start is None or window.end is None or _is_empty(window):
            return [], []
        prices = Prices(self._reads.inventory_prices_usd(), self._default_price_usd)
        earlier = window.start - timedelta(seconds=self._gap_seconds)
        readings = self._reads.readings(Range(earlier, window.end), of)
        gpus = cost.accrue(readings, window.start, window.end, self._gap_seconds, prices)
        return gpus, self._reads.usage(Range(window.start, window.end), of)

    def _energy(self, gpus: list[GpuCost], total_tokens: int) -> EnergyCost:
        energy_kwh = sum(gpu.energy_kwh for gpu in gpus)
        price_usd = self._price_per_kwh_usd
        usd = energy_kwh * price_usd if gpus and price_usd is not None else None
        return EnergyCost(
            energy_kwh=energy_kwh, price_per_kwh_usd=price_usd, **_cost(usd, total_tokens).model_dump()
        )

    def _gpu_info(self, document: Document, now: datetime | None) -> GpuInfo:
        fields = {name: plain(value) for name, value in document.items() if name not in ("_id", "reporting")}
        age_seconds = (now - document["ts"]).total_seconds() if now else 0.0
        return GpuInfo.model_validate(
            {**fields, "gpu_id": document["_id"], "reporting": age_seconds <= self._gap_seconds}
        )


def _is_empty(window: Window) -> bool:
    return window.seconds is not None and window.seconds <= 0


def _reason_for_nothing(window: Window, rows: list[UsageRow]) -> str | None:
    if _is_empty(window):
        return EMPTY_RANGE
    return None if rows else NO_EVENTS


def _reason_for_no_cost(window: Window, gpus: list[GpuCost], total_tokens: int) -> str | None:
    if _is_empty(window):
        return EMPTY_RANGE
    if not gpus:
        return NO_GPU_METRICS if total_tokens else NO_EVENTS
    return None if total_tokens else NO_TOKENS


def _by_model(rows: Iterable[UsageRow]) -> list[ModelUsage]:
    models: dict[str, list[UsageRow]] = {}
    for row in rows:
        models.setdefault(row.model, []).append(row)
    return [
        ModelUsage(model=model, **_tokens(of_model).model_dump())
        for model, of_model in sorted(models.items())
    ]


def _tokens(rows: Iterable[UsageRow]) -> Tokens:
    events = prompt = completion = 0
    for row in rows:
        events += row.events
        prompt += row.prompt_tokens
        completion += row.completion_tokens
    return Tokens(
        events=events, prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )


def _cost(usd: float | None, tokens: int) -> Cost:
    each = cost.per_token(usd, tokens)
    return Cost(
        cost_usd=usd,
        cost_per_token_usd=each,
        cost_per_million_tokens_usd=each * cost.TOKENS_PER_MILLION if each is not None else None,
    )


def _gpu_share(gpu: GpuCost, tokens: int | None) -> GpuShare:
    return GpuShare.model_validate(
        {
            "gpu_id": gpu.gpu_id,
            "host": gpu.host,
            "gpu_index": gpu.gpu_index,
            "name": gpu.name,
            "readings": gpu.readings,
            "covered_seconds": gpu.covered_seconds,
            "gap_seconds": gpu.gap_seconds,
            "price_source": gpu.price_source,
            "total_tokens": tokens,
            "wall_clock": _cost(gpu.wall_clock_usd, tokens or 0),
            "utilization_weighted": _cost(gpu.utilization_weighted_usd, tokens or 0),
            "energy_kwh": gpu.energy_kwh,
        }
    )


def _page(
    items: list[T], limit: int, cursor: str | None, key: Callable[[T], str]
) -> tuple[list[T], str | None]:
    """The first `limit` items after `cursor`, and the cursor of the next page; items are in order of key."""
    rest = [item for item in items if cursor is None or key(item) > cursor]
    return rest[:limit], key(rest[limit - 1]) if len(rest) > limit else None
