"""Runs to results: what build/bench.json holds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.errors import BenchError

RUNS = 5

# Shows the waiting user what is being done.
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison. The lower the ratio the better, unless the unit is a rate."""

    name: str
    ours: float
    reference: float
    ratio: float
    unit: str
    runs: int
    # The largest ratio of a single run minus the smallest, as a share of `ratio`.
    spread: float


def compare(name: str, unit: str, ours: Sequence[float], reference: Sequence[float]) -> Result:
    """Medians of runs that were made in turns: the n-th of ours belongs to the n-th of the reference."""
    ratios = [one / other for one, other in zip(ours, reference, strict=True)]
    ratio = median(ours) / median(reference)
    return Result(
        name=name,
        ours=median(ours),
        reference=median(reference),
        ratio=ratio,
        unit=unit,
        runs=len(ratios),
        spread=(max(ratios) - min(ratios)) / ratio,
    )


def compare_runs(
    name: str, unit: str, field: str, ours: Sequence[object], reference: Sequence[object]
) -> Result:
    """One field of runs, compared."""
    values = [[getattr(run, field) for run in runs] for runs in (ours, reference)]
    return compare(name, unit, *values)


class Sample(NamedTuple):
    """Events stored at a moment of time.monotonic()."""

    moment: float
    stored: int


def rate(samples: Sequence[Sample]) -> float:
    """Events a second from the first sample at which some was stored to the last at which not all was."""
    unfinished = [sample for sample in samples if 0 < sample.stored < samples[-1].stored]
    if len(unfinished) < 2:
        raise BenchError("Everything was stored before the second look: take more events.")
    first, last = unfinished[0], unfinished[-1]
    return (last.stored - first.stored) / (last.moment - first.moment)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    needed = share * len(ordered)
    return next(value for count, value in enumerate(ordered, start=1) if count >= needed)


def write(path: Path, results: Sequence[Result]) -> None:
    """Replace the results of the same names in the file, and keep those of others."""
    kept = {entry["name"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}
    kept |= {result.name: asdict(result) for result in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(kept.values()), indent=2) + "\n")
