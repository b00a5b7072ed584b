"""`lab drill`: progress and a table on the screen, build/drill.json for others."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lab.drill.faults import FAULTS, Fault, Flood
from lab.drill.run import Drill, Entry
from lab.drill.site import Site
from lab.errors import LabError
from lab.report import table_console
from lab.settings import Settings


def choose(names: Sequence[str]) -> list[Fault | Flood]:
    """The faults of these names, in the order in which they are drilled; all if there is no name."""
    known = [fault.name for fault in FAULTS]
    for name in names:
        if name not in known:
            raise LabError(f'--only is "{name}", which is no fault: use one of {", ".join(known)}.')
    return [fault for fault in FAULTS if not names or fault.name in names]


def drill(settings: Settings, names: Sequence[str], seed: int) -> bool:
    """Whether all passed."""
    faults = choose(names)
    site = Site(settings)
    site.require_healthy()
    # What is frozen or stopped must not stay so when the drill is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    file = settings.root / "build" / "drill.json"
    file.unlink(missing_ok=True)
    console = table_console()
    entries: list[Entry] = []
    with _progress(console) as progress:
        bars = {
            fault.name: progress.add_task(fault.name, total=getattr(fault, "times", 1), start=False)
            for fault in faults
        }
        conductor = Drill(site, seed, lambda name, times: progress.update(bars[name], completed=times))
        for fault in faults:
            progress.start_task(bars[fault.name])
            strikes = conductor.run(fault)
            progress.stop_task(bars[fault.name])
            entries += strikes
            times, sent, _, _, lost, duplicates, longest = _sums(strikes)
            console.print(
                f"{fault.name} {times} times: of {sent} events {lost} lost, {duplicates} twice; "
                f"stored again within {longest} s"
            )
    # Only now: a file of half a drill would read like a whole one.
    write(file, entries)
    console.print(table(entries))
    return all(entry.passed for entry in entries)


def write(file: Path, entries: Sequence[Entry]) -> None:
    """The entries as JSON."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n")


def table(entries: Sequence[Entry]) -> Table:
    """A line for each fault: its strikes together, the longest recovery."""
    view = Table(title="Fault drill")
    view.add_column("fault")
    for heading in ("times", "sent", "stored", "dead-lettered", "lost", "duplicates", "recovered s"):
        view.add_column(heading, justify="right")
    for name in dict.fromkeys(entry.fault for entry in entries):
        strikes = [entry for entry in entries if entry.fault == name]
        passed = all(strike.passed for strike in strikes)
        view.add_row(name, *_sums(strikes), style="" if passed else "red")
    return view


def _sums(strikes: Sequence[Entry]) -> list[str]:
    fields = ("sent", "stored", "dead_lettered", "lost", "duplicates")
    sums = [sum(getattr(strike, field) for strike in strikes) for field in fields]
    longest_seconds = max(strike.recovered_s for strike in strikes)
    return [str(len(strikes)), *(f"{number:,}" for number in sums), f"{longest_seconds:.1f}"]


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
