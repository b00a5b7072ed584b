"""From two looks at an engine's counters to the tokens in between.

What a counter showed at the first look is the past: it is not ours to count. From then on every
token counts once. A look that was missed makes the next interval longer; nothing is guessed.

When an engine starts anew, its counters begin at 0. That shows in the time at which they began, or
else in the time at which the process began. Only an engine that tells neither is judged by a smaller
value. A time that lies before the last look is no restart: then another engine answers.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from gpu_token_contracts import bounds

from gpu_token_producers.sources.engines import (
    CACHED,
    COMPLETION,
    PROCESS_START,
    PROMPT,
    REQUESTS,
    SECONDS,
    Counter,
    Engine,
    plain,
)
from gpu_token_producers.sources.exposition import Sample

_MICRO: Final = 1_000_000
# Beyond this a value is nonsense, and the event would be refused.
_MAX_COUNT: Final = bounds.MAX_TOKENS
_MAX_SECONDS: Final = 10**11
# An engine tells its time in whole seconds, and some compute their own start anew each time.
_CLOCK_ERROR_US: Final = 2 * _MICRO
_START_ERROR_SECONDS: Final = 1.5
# Series of one quantity that are not shown any more. Only a target that goes on inventing labels has more.
_MAX_GONE: Final = 1000


class Series(msgspec.Struct, frozen=True):
    """One series of a counter at one look: tokens, requests, or microseconds.

    `counter` is its name, without colons. `created` is when it began, by the engine's clock, in
    seconds since 1970.
    """

    quantity: str
    model: str
    counter: str
    labels: str
    value: int
    created: float | None = None


class Look(msgspec.Struct, frozen=True):
    """What an engine's counters showed at one moment.

    `at_us` is by our clock, `clock_ahead_us` is how far the engine's is ahead of it, `age_us` how much
    older than the moment the values may be. `unused` are cached tokens, by model, that were counted
    before the prompt which they are a part of.
    """

    at_us: int
    series: tuple[Series, ...]
    clock_ahead_us: int = 0
    age_us: int = 0
    process_start: float | None = None
    unused: dict[str, int] = {}


class Interval(NamedTuple):
    """What one model did between two looks; amounts by the contract's field, seconds in microseconds."""

    model: str
    from_us: int
    to_us: int
    amounts: dict[str, int]
    resets: int
    # Tells the lives of an engine apart: when its counters began, or nothing where it does not say so.
    epoch: str


class Advance(NamedTuple):
    """The intervals, the look to go on from, and what is to be told of them."""

    intervals: list[Interval]
    look: Look
    remarks: list[str]


def look(
    engine: Engine,
    samples: Iterable[Sample],
    *,
    at_us: int,
    model: str | None = None,
    clock_ahead_us: int = 0,
    age_us: int = 0,
) -> Look:
    """The counters among the samples. `model` is the name for all, where it is given.

    A quantity that has several names is there under each of them, the one to prefer first.
    """
    by_name: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_name[plain(sample.name)].append(sample)
    start = by_name.get(PROCESS_START)
    return Look(
        at_us=at_us,
        series=tuple(
            each
            for quantity, counters in engine.counters.items()
            for counter in counters
            for each in _series(engine, quantity, counter, by_name, model)
        ),
        clock_ahead_us=clock_ahead_us,
        age_us=age_us,
        process_start=start[0].value if start and math.isfinite(start[0].value) else None,
    )


def uncounted(engine: Engine, samples: Iterable[Sample]) -> frozenset[str]:
    """What is to be told of values that no counter can have, which `look` leaves out."""
    limits = {
        counter.name: (counter, _limit(quantity))
        for quantity, counters in engine.counters.items()
        for counter in counters
    }
    remarks = set()
    for sample in samples:
        counter, limit = limits.get(plain(sample.name), (None, 0))
        if counter is not None and not 0 <= sample.value <= limit and _counts(counter, sample):
            remarks.add(f"{sample.name} shows {_named(sample.value, limit)}, which is not counted")
    return frozenset(remarks)


def _named(value: float, limit: int) -> str:
    """The same for each value of a kind, so that it is said once."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "an infinite value"
    return "a negative value" if value < 0 else f"more than {limit:.0e}"


def _limit(quantity: str) -> int:
    return _MAX_SECONDS if quantity in SECONDS else _MAX_COUNT


def _counts(counter: Counter, sample: Sample) -> bool:
    return all(sample.labels.get(name) in values for name, values in counter.where.items())


def advance(engine: Engine, before: Look, now: Look) -> Advance:
    """What happened from one look to the next. The looks must be in order of time."""
    old, new = _by_quantity(before), _by_quantity(now)
    changes = {
        quantity: _change(engine, before, now, old.get(quantity, {}), new[quantity]) for quantity in new
    }
    amounts: dict[str, dict[str, int]] = defaultdict(dict)
    resets: dict[str, int] = defaultdict(int)
    begun: dict[str, float] = {}
    remarks: set[str] = set()
    anew = any(change.resets for change in changes.values())
    # What is not there any more may come back, for instance after half an answer; not from an earlier life.
    kept = [
        each
        for quantity, names in old.items()
        if quantity not in new
        for each in next(iter(names.values()))
        if each.created is None or not anew
    ]
    for quantity, change in changes.items():
        kept += change.kept
        remarks |= change.remarks
        for model, amount in change.amounts.items():
            amounts[model][quantity] = amount
            resets[model] = max(resets[model], change.resets.get(model, 0))
        for each in change.kept:
            if quantity in (PROMPT, COMPLETION) and each.created is not None:
                begun[each.model] = min(begun.get(each.model, each.created), each.created)
    unused = {model: rest for model, rest in before.unused.items() if model not in amounts}
    intervals = []
    for model, found in amounts.items():
        if rest := _fit_cached(found, before.unused.get(model, 0)):
            unused[model] = rest
        if any(found.values()) or resets[model]:
            began = begun.get(model) or now.process_start
            intervals.append(_interval(model, before, now, found, resets[model], began))
    after = msgspec.structs.replace(now, series=tuple(kept), unused=unused)
    return Advance(intervals, after, sorted(remarks))


class _Change:
    """What one quantity did, by model, and the series to go on from."""

    def __init__(self) -> None:
        self.amounts: dict[str, int] = defaultdict(int)
        self.resets: dict[str, int] = {}
        self.kept: list[Series] = []
        self.remarks: set[str] = set()

    def add(self, model: str, amount: int, *, anew: bool = False) -> None:
        self.amounts[model] += amount
        if anew:
            self.resets[model] = 1


# The series of one quantity, by the name of its counter, the name to prefer first.
_Names = dict[str, list[Series]]


def _change(engine: Engine, before: Look, now: Look, old: _Names, new: _Names) -> _Change:
    """What one quantity did. Of several names, the one that was counted before goes on.

    It gives way to a better one that has come to show as much, so that no token counts under both:
    SGLang counts tokens when they are made, and under a better name when the request has ended.
    """
    best, others = next(iter(new.items()))
    if not old:
        return _of_series(engine, before, now, [], others)
    in_use, last = next(iter(old.items()))
    if in_use == best:
        return _of_series(engine, before, now, last, others)
    if in_use in new:
        change = _of_series(engine, before, now, last, new[in_use])
        levels, reached = _sums(last), _sums(others)
        if change.resets or any(reached.get(model, 0) < level for model, level in levels.items()):
            return change
    renamed = _Change()
    _under_another_name(before, now, last, others, renamed, same_life=in_use in new)
    return renamed


def _of_series(
    engine: Engine, before: Look, now: Look, old: Sequence[Series], new: Sequence[Series]
) -> _Change:
    """What one counter did, over all its series."""
    change = _Change()
    gone = {each.labels: each for each in old}
    appeared: list[Series] = []
    for each in new:
        last = gone.pop(each.labels, None)
        if last is None:
            appeared.append(each)
        else:
            _go_on(before, now, last, each, change)
    goes_on = bool(change.kept) and not change.resets
    unknown: list[Series] = []
    same_age: dict[float, list[Series]] = defaultdict(list)
    for last in sorted(gone.values(), key=_by_value, reverse=True):
        if last.created is not None:
            same_age[last.created].append(last)
    for each in sorted(appeared, key=_by_value):
        if each.created is not None and same_age.get(each.created):
            # The same series under other labels.
            last = same_age[each.created].pop()
            del gone[last.labels]
            _go_on(before, now, last, each, change)
        elif each.created is not None:
            _appear(_since(before, now, each.created), each, change)
        else:
            unknown.append(each)
    if unknown and gone and not goes_on:
        _under_another_name(before, now, list(gone.values()), unknown, change)
        gone.clear()
    else:
        for each in unknown:
            # One that shows what it counts from the start on has been there before, and was not shown.
            late = engine.appears_late is not None or goes_on or bool(change.resets) or not before.series
            _appear(late or _restarted(before, now), each, change)
    if not change.resets:
        # They may come back, for instance after half an answer. Those of an earlier life will not.
        change.kept += list(gone.values())[-_MAX_GONE:]
    return change


def _by_value(series: Series) -> int:
    return series.value


def _go_on(before: Look, now: Look, last: Series, each: Series, change: _Change) -> None:
    """Count one series that was there before."""
    match _life(before, now, last, each):
        case "anew":
            change.add(each.model, each.value, anew=True)
        case "other":
            change.add(each.model, 0)
            change.remarks.add(
                f"{each.model}: another engine answers, which is older than the last look; it counts from "
                "now on. Give each engine a source of its own"
            )
        case "same" if each.value < last.value:
            change.add(each.model, 0)
            change.remarks.add(
                f"{each.model}: a counter went backwards though the engine did not restart; "
                "it counts from its peak on"
            )
            each = msgspec.structs.replace(each, value=last.value)
        case _:
            change.add(each.model, each.value - last.value)
    change.kept.append(each)


def _appear(counts: bool, each: Series, change: _Change) -> None:
    """Count a series that was not there before, unless it is older than the last look."""
    change.add(each.model, each.value if counts else 0)
    change.kept.append(each)
    if not counts and each.value:
        change.remarks.add(
            f"{each.model}: a counter appeared that is older than the last look; it counts from now on"
        )


def _under_another_name(
    before: Look,
    now: Look,
    old: Sequence[Series],
    new: Sequence[Series],
    change: _Change,
    *,
    same_life: bool = False,
) -> None:
    """Count series of which nothing is left but the sum, which goes on under other names or labels."""
    levels = _sums(old)
    models = list(dict.fromkeys(each.model for each in new))
    if not set(models) & set(levels):
        # The model itself has another name.
        levels = {models[0]: sum(levels.values())}
    for model in models:
        found = [each for each in new if each.model == model]
        level, total = levels.get(model, 0), sum(each.value for each in found)
        created = [each.created for each in found if each.created is not None]
        if same_life:
            anew = False
        elif created and len(created) == len(found):
            anew = all(_since(before, now, each) for each in created)
        else:
            anew = _restarted(before, now) or (total < level and not _same_process(before, now))
        if anew:
            change.add(model, total, anew=True)
        else:
            change.add(model, max(total - level, 0))
    change.kept += new


def _life(before: Look, now: Look, last: Series, each: Series) -> str:
    """Whether the series is in the same life of the engine, in one begun anew, or of another engine."""
    if last.created is not None and each.created is not None:
        if each.created == last.created:
            return "same"
        return "anew" if _since(before, now, each.created) else "other"
    if before.process_start is not None and now.process_start is not None:
        if _same_process(before, now):
            return "same"
        return "anew" if _since(before, now, now.process_start) else "other"
    return "anew" if each.value < last.value else "same"


def _same_process(before: Look, now: Look) -> bool:
    old, new = before.process_start, now.process_start
    return old is not None and new is not None and abs(new - old) <= _START_ERROR_SECONDS


def _restarted(before: Look, now: Look) -> bool:
    """Whether the engine says that it has begun since the last look."""
    return (
        now.process_start is not None
        and not _same_process(before, now)
        and _since(before, now, now.process_start)
    )


def _since(before: Look, now: Look, began: float) -> bool:
    """Whether a moment of the engine's clock lies after the last look."""
    return round(began * _MICRO) - now.clock_ahead_us >= before.at_us - before.age_us - _CLOCK_ERROR_US


def _fit_cached(found: dict[str, int], unused: int) -> int:
    """Keep cached tokens within the prompt's, as the contract asks; returns those left over."""
    if CACHED not in found:
        return unused
    cached = found[CACHED] + unused
    found[CACHED] = min(cached, found.get(PROMPT, 0))
    return cached - found[CACHED]


def _interval(
    model: str, before: Look, now: Look, found: dict[str, int], resets: int, began: float | None
) -> Interval:
    from_us = before.at_us
    if resets and began is not None:
        # The engine was away until it began again.
        from_us = min(max(from_us, round(began * _MICRO) - now.clock_ahead_us), now.at_us - 1)
    amounts = {name: found.get(name, 0) for name in (PROMPT, COMPLETION, REQUESTS)}
    amounts |= {name: amount for name, amount in found.items() if name not in amounts}
    return Interval(model, from_us, now.at_us, amounts, resets, "" if began is None else f"{began}")


def _by_quantity(seen: Look) -> dict[str, _Names]:
    quantities: dict[str, _Names] = {}
    for each in seen.series:
        quantities.setdefault(each.quantity, {}).setdefault(each.counter, []).append(each)
    return quantities


def _sums(series: Iterable[Series]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for each in series:
        sums[each.model] += each.value
    return dict(sums)


def _series(
    engine: Engine, quantity: str, counter: Counter, by_name: dict[str, list[Sample]], model: str | None
) -> Iterator[Series]:
    created = {_labels(sample): sample.value for sample in by_name.get(counter.created, ())}
    scale, limit = _MICRO if quantity in SECONDS else 1, _limit(quantity)
    lowest: dict[str, tuple[list[int], Series]] = {}
    for sample in by_name.get(counter.name, ()):
        if not _counts(counter, sample):
            continue
        name = model or (sample.labels.get(engine.model_label) if engine.model_label else None)
        if not name or not 0 <= sample.value <= limit:
            continue
        ranks = [_rank(sample.labels.get(label, "")) for label in sorted(engine.rank_labels)]
        labels = _labels(sample, without=engine.rank_labels)
        began = created.get(_labels(sample))
        if labels not in lowest or ranks < lowest[labels][0]:
            lowest[labels] = (
                ranks,
                Series(
                    quantity,
                    name[: bounds.MAX_TEXT_LENGTH],
                    counter.name,
                    labels,
                    round(sample.value * scale),
                    began if began and math.isfinite(began) else None,
                ),
            )
    for _, series in lowest.values():
        yield series


def _labels(sample: Sample, without: frozenset[str] = frozenset()) -> str:
    return ",".join(
        f"{name}={value!r}" for name, value in sorted(sample.labels.items()) if name not in without
    )


def _rank(text: str) -> int:
    return int(text) if text.isdecimal() else 0
