"""`make drill`: shows progress and a table, and writes build/drill.json."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from drill.entry import Entry
from drill.faults import choose
from drill.results import sums, table, write
from drill.run import Drill
from drill.site import Site
from lab.command import opened
from lab.report import table_console
from lab.settings import Settings


def main(
    only: Annotated[
        list[str] | None, typer.Option(metavar="FAULT", help="Only this fault; may be given several times.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed strikes at the same moments.")] = 1,
) -> None:
    """Break one thing after the other under load, and count: build/drill.json."""
    with opened() as environment:
        passed = drill(environment.settings, only or [], seed)
    raise typer.Exit(0 if passed else 1)


def drill(settings: Settings, names: Sequence[str], seed: int) -> bool:
    """Whether all passed."""
    faults = choose(names)
    site = Site(settings)
    site.require_healthy()
    # When the drill is stopped, a frozen or stopped service must not stay so.
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
            times, sent, _, _, lost, duplicates, longest = sums(strikes)
            console.print(
                f"{fault.name} {times} times: of {sent} {strikes[0].unit} {lost} lost, {duplicates} twice; "
                f"stored again within {longest} s"
            )
    # Written only now: a file of half a drill would look like that of a whole one.
    write(file, entries)
    console.print(table(entries))
    return all(entry.passed for entry in entries)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


if __name__ == "__main__":
    typer.run(main)
