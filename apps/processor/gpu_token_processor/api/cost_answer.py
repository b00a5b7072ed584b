"""The answer of /cost and of the command: the ledger, and the fields that /cost has always had."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from gpu_token_processor.api.models import (
    Cost,
    CostAnswer,
    EnergyCost,
    GpuShare,
    ModelCost,
    ModelUsage,
    Tokens,
    Window,
)
from gpu_token_processor.ledger.answer import ledger_fields
from gpu_token_processor.ledger.cells import Cell, UnitId, gpu_unit, unit_of
from gpu_token_processor.ledger.coverage import EVENT_PRICE, GpuTrack, Sums
from gpu_token_processor.ledger.exact import PICO_PER_USD, PPM, US_PER_HOUR, US_PER_SECOND
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.usage import Amounts, Named
from gpu_token_processor.selection import Selection

EMPTY_RANGE = "empty_range"
NO_EVENTS = "no_events"
NO_GPU_METRICS = "no_gpu_metrics"
NO_TOKENS = "no_tokens"

_MILLION = 1_000_000
_MW_US_PER_KWH = 1_000 * 1_000 * US_PER_HOUR


def cost_answer(ledger: Ledger, window: Window, of: Selection, price_per_kwh_usd: float | None) -> CostAnswer:
    """`of` selects what the fields are about that share the whole range at once."""
    sums = [counted for counted in ledger.whole_sums if _matches(of, counted.seen)]
    tracks = [
        track
        for track in ledger.coverage.tracks.values()
        if track.seen is not None and _matches(of, track.seen)
    ]
    usage = ledger.whole_usage(lambda named: _matches(of, named) and of.model in (None, named.model))
    cell = ledger.as_one_cell(sums, usage)
    gpus = _gpus(ledger, sums, tracks, cell)
    models = _models(cell, sums, usage)
    tokens = sum_tokens(models)
    total = tokens.total_tokens
    return CostAnswer(
        **ledger_fields(ledger),
        window=window,
        reason=_reason(window, gpus, total),
        tokens=tokens,
        gpu_seconds=sum(counted.covered_us for counted in sums) / US_PER_SECOND,
        gap_seconds=sum(track.gap_us for track in tracks) / US_PER_SECOND,
        wall_clock=_cost(_wall_usd(sums) if gpus else None, total),
        utilization_weighted=_cost(_weighted_usd(sums) if gpus else None, total),
        energy=_energy(ledger, sums, total, price_per_kwh_usd if gpus else None),
        idle_usd=sum(unit.cost_pico for unit in cell.units.values() if unit.is_idle) / PICO_PER_USD,
        gpus=gpus,
        models=models,
    )


def _matches(of: Selection, described: object) -> bool:
    """Whether host and index of a GPU, or of an event, are those selected."""
    return all(
        wanted is None or getattr(described, name) == wanted
        for name, wanted in (("host", of.host), ("gpu_index", of.gpu_index))
    )


def _reason(window: Window, gpus: Sequence[GpuShare], total_tokens: int) -> str | None:
    if window.seconds is not None and window.seconds <= 0:
        return EMPTY_RANGE
    if not gpus:
        return NO_GPU_METRICS if total_tokens else NO_EVENTS
    return None if total_tokens else NO_TOKENS


def _wall_usd(sums: Sequence[Sums]) -> Fraction:
    return sum((counted.covered_us * counted.usd_per_hour for counted in sums), Fraction(0)) / US_PER_HOUR


def _weighted_usd(sums: Sequence[Sums]) -> Fraction:
    whole = sum((counted.busy_ppm_us * counted.usd_per_hour for counted in sums), Fraction(0))
    return whole / PPM / US_PER_HOUR


def _cost(usd: Fraction | None, tokens: int) -> Cost:
    each = usd / tokens if usd is not None and tokens else None
    return Cost(
        cost_usd=None if usd is None else float(usd),
        cost_per_token_usd=None if each is None else float(each),
        cost_per_million_tokens_usd=None if each is None else float(each * _MILLION),
    )


def _energy(
    ledger: Ledger, sums: Sequence[Sums], total_tokens: int, price_per_kwh_usd: float | None
) -> EnergyCost:
    """At the catalogue's price where it has one, else at the setting's."""
    kwh = Fraction(sum(counted.power_mw_us for counted in sums), _MW_US_PER_KWH)
    usd: Fraction | None = Fraction(0)
    latest = None
    for counted in sums:
        declared = ledger.book.usd_per_kwh(counted.piece)
        price = declared if declared is not None else price_per_kwh_usd
        if price is None or usd is None:
            usd = None
            continue
        usd += Fraction(counted.power_mw_us, _MW_US_PER_KWH) * Fraction(price)
        latest = max(latest or (counted.hour, counted.piece, price), (counted.hour, counted.piece, price))
    if not sums:
        usd = None
    return EnergyCost(
        energy_kwh=float(kwh),
        price_per_kwh_usd=float(latest[2]) if latest else price_per_kwh_usd,
        **_cost(usd, total_tokens).model_dump(),
    )


def _gpus(ledger: Ledger, sums: Sequence[Sums], tracks: Sequence[GpuTrack], cell: Cell) -> list[GpuShare]:
    of_gpu: dict[str, list[Sums]] = defaultdict(list)
    for counted in sums:
        of_gpu[counted.gpu_id].append(counted)
    return [
        _gpu(ledger, track, of_gpu[track.gpu_id], cell)
        for track in sorted(tracks, key=lambda track: track.gpu_id)
        if track.readings or track.gpu_id in of_gpu
    ]


def _gpu(ledger: Ledger, track: GpuTrack, sums: Sequence[Sums], cell: Cell) -> GpuShare:
    seen = track.seen
    assert seen is not None
    tokens = _tokens_of_gpu(track.gpu_id, sums, cell)
    by_event = track.own[0] is not None
    return GpuShare.model_validate(
        {
            "gpu_id": track.gpu_id,
            "host": seen.host,
            "gpu_index": seen.gpu_index,
            "name": seen.name,
            "readings": track.readings,
            "covered_seconds": sum(counted.covered_us for counted in sums) / US_PER_SECOND,
            "gap_seconds": track.gap_us / US_PER_SECOND,
            "price_source": EVENT_PRICE
            if by_event
            else ledger.book.terms(seen, ledger.book.piece(track.last_us)).source,
            "total_tokens": tokens,
            "wall_clock": _cost(_wall_usd(sums), tokens or 0),
            "utilization_weighted": _cost(_weighted_usd(sums), tokens or 0),
            "energy_kwh": float(Fraction(sum(counted.power_mw_us for counted in sums), _MW_US_PER_KWH)),
        }
    )


def _tokens_of_gpu(gpu_id: str, sums: Sequence[Sums], cell: Cell) -> int | None:
    """None where usage does not tell the GPU from another, as within a deployment."""
    units = {unit_of(counted) for counted in sums}
    if units - {gpu_unit(gpu_id)} or any(cell.units[unit].ambiguous for unit in units):
        return None
    return sum(sum(item.tokens) for unit in units for item in cell.units[unit].items.values())


def _models(cell: Cell, sums: Sequence[Sums], usage: Mapping[Named, Amounts]) -> list[ModelCost]:
    tokens: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for named, amounts in usage.items():
        tokens[named.model][0] += amounts.events
    weighted_usd = _weighted_by_unit(sums)
    wall: dict[str, Fraction] = {}
    weighted: dict[str, Fraction] = {}
    for unit_id, unit in cell.units.items():
        for item_id, item in unit.items.items():
            counts = tokens[item_id.model]
            counts[1] += item.tokens[0] + item.tokens[1]
            counts[2] += item.tokens[2]
            if unit_id not in weighted_usd or not any(item.tokens):
                continue
            part = Fraction(sum(item.cost_pico), unit.cost_pico or 1)
            wall[item_id.model] = wall.get(item_id.model, 0) + part * Fraction(unit.cost_pico, PICO_PER_USD)
            weighted[item_id.model] = weighted.get(item_id.model, 0) + part * weighted_usd[unit_id]
    return [
        ModelCost(
            model=model,
            events=events,
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            wall_clock=_cost(wall.get(model), prompt + completion),
            utilization_weighted=_cost(weighted.get(model), prompt + completion),
        )
        for model, (events, prompt, completion) in sorted(tokens.items())
    ]


def _weighted_by_unit(sums: Sequence[Sums]) -> dict[UnitId, Fraction]:
    of_unit: dict[UnitId, list[Sums]] = defaultdict(list)
    for counted in sums:
        of_unit[unit_of(counted)].append(counted)
    return {unit_id: _weighted_usd(part) for unit_id, part in of_unit.items()}


def sum_tokens(models: Sequence[ModelUsage]) -> Tokens:
    """Of all models."""
    return Tokens(**{name: sum(getattr(model, name) for model in models) for name in Tokens.model_fields})
