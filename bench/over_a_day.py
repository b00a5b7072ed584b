"""What a day of a fleet costs, from files: gpu-token-cost, and DuckDB for the plain part of it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from gpu_token_contracts import format_ts, to_us

from bench.day import PRICE_PER_HOUR_USD, Day, write_day
from bench.errors import BenchError
from bench.parts import duckdb_python
from bench.results import RUNS, Note, Result, compare_runs
from testing.parts import ROOT

_HOUR_US = 3_600_000_000
_PICO_PER_USD = 10**12
_POLL_SECONDS = 0.05
# By the field of Measured.
_RESULTS = {"seconds": ("cost-over-a-day", "s"), "peak_mib": ("memory-over-a-day", "MiB at most")}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a command; `peak_mib` adds up the largest resident sets of all its processes."""

    seconds: float
    peak_mib: float
    output: str


class GpuHour(NamedTuple):
    """What both count of one GPU in one clock hour."""

    covered_us: int
    tokens: int


# By GPU and hour since 1970.
Plain = dict[tuple[str, int], GpuHour]


def over_a_day(folder: Path, hours: float, note: Note) -> list[Result]:
    """Both read the same files, in turns; they must count the same."""
    note(f"writing {hours:g} hours of events")
    place = folder / "day"
    place.mkdir()
    day = write_day(place, hours)
    commands = {"ours": _ours(day), "DuckDB": _duckdb(day)}
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for number in range(1, RUNS + 1):
        for name, command in commands.items():
            note(f"run {number} of {RUNS}: {name} over {day.events:,} events")
            runs[name].append(measure(command, place))
        require_equal(said_by_us(runs["ours"][-1].output), said_by_duckdb(runs["DuckDB"][-1].output))
    return [
        compare_runs(name, unit, field, runs["ours"], runs["DuckDB"])
        for field, (name, unit) in _RESULTS.items()
    ]


def said_by_us(answer: str) -> Plain:
    """The answer by GPU and hour; its money tells the covered time, since one price holds for all of it."""
    pico_per_us = Decimal(str(PRICE_PER_HOUR_USD)) * _PICO_PER_USD / _HOUR_US
    rows = json.loads(answer, parse_float=Decimal)["rows"]
    return {
        (row["key"]["gpu"], to_us(datetime.fromisoformat(row["start"])) // _HOUR_US): GpuHour(
            int(row["cost_usd"] * _PICO_PER_USD / pico_per_us), row["tokens"]["total"]
        )
        for row in rows
    }


def said_by_duckdb(answer: str) -> Plain:
    """What duckdb_day.py prints."""
    found: dict[str, list[list[Any]]] = json.loads(answer)
    tokens = {(gpu, hour): count for gpu, hour, count in found["tokens"]}
    return {
        (gpu, hour): GpuHour(covered_us, tokens.get((gpu, hour), 0))
        for gpu, hour, covered_us in found["covered_us"]
    }


def require_equal(ours: Plain, theirs: Plain) -> None:
    """To the microsecond and to the token."""
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            gpu, hour = key
            raise BenchError(
                f"{gpu} in hour {hour}: gpu-token-cost counts {ours.get(key)}, DuckDB {theirs.get(key)}."
            )


def _ours(day: Day) -> list[str]:
    shown = ["--group-by", "gpu", "--step", "hour", "--format", "json"]
    during = ["--start", format_ts(day.start), "--end", format_ts(day.end)]
    command = Path(sys.executable).with_name("gpu-token-cost")
    return [str(command), str(day.readings), str(day.usage), *during, *shown]


def _duckdb(day: Day) -> list[str]:
    script = ROOT / "bench" / "duckdb_day.py"
    return [str(duckdb_python()), str(script), str(day.readings), str(day.usage), str(to_us(day.end))]


def measure(command: Sequence[str], folder: Path) -> Measured:
    """Run a command to its end. Memory is looked at now and then, so that a shorter peak may be missed."""
    errors, output = folder / "errors", folder / "output"
    peaks: dict[int, float] = {}
    with errors.open("wb") as to_errors, output.open("wb") as to_output:
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=to_output, stderr=to_errors) as process:
            while process.poll() is None:
                peaks.update(_peaks_mib(process.pid))
                time.sleep(_POLL_SECONDS)
            seconds = time.perf_counter() - started
    if process.returncode:
        raise BenchError(f"{command[0]} ended with status {process.returncode}: {errors.read_text().strip()}")
    return Measured(seconds, sum(peaks.values()), output.read_text())


def _peaks_mib(pid: int) -> Iterator[tuple[int, float]]:
    """The largest resident sets of a process and of its children so far; nothing of those that have ended."""
    process = Path("/proc", str(pid))
    try:
        status = (process / "status").read_text()
        children = (process / "task" / str(pid) / "children").read_text()
    except OSError:
        return
    if "VmHWM:" in status:
        yield pid, int(status.split("VmHWM:")[1].split()[0]) / 1024
    for child in children.split():
        yield from _peaks_mib(int(child))
