"""`make bench`: runs the benchmarks and writes build/bench.json."""

import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import BenchError
from bench.growth import growth
from bench.history import history
from bench.ingest import PEERS, ingest
from bench.intake import intake
from bench.latency import latency
from bench.marks import marks
from bench.over_a_day import over_a_day
from bench.parts import connector_libs, quix_python
from bench.results import Note, Result, write
from bench.scrape import scrape
from bench.secured import secured
from testing.broker import Broker
from testing.parts import ROOT, kafka_libs
from testing.processes import ProcessError

RESULTS = ROOT / "build" / "bench.json"
_GROWTH = (1_000_000, 2_000_000, 4_000_000)
# Fewer are stored before they can be looked at twice.
_SMALLEST_RUN_EVENTS = 200_000


class Benchmark(StrEnum):
    """What can be measured; the first four are the peers of ingest.py."""

    CONNECTOR = "connector"
    QUIX = "quix"
    FLOOR = "floor"
    BULK_LOOP = "bulk-loop"
    SECURED = "secured"
    LATENCY = "latency"
    GROWTH = "growth"
    DAY = "day"
    SCRAPE = "scrape"
    INTAKE = "intake"
    ROLLUPS = "rollups"


def main(
    only: Annotated[list[Benchmark] | None, typer.Option(help="Only these; else all.")] = None,
    events: Annotated[
        int, typer.Option(min=_SMALLEST_RUN_EVENTS, help="Events that the runs of one comparison store.")
    ] = 500_000,
    growth_sizes: Annotated[
        str, typer.Option("--growth", help="Events stored at which growth is measured, by commas.")
    ] = ",".join(map(str, _GROWTH)),
    hours: Annotated[float, typer.Option(min=0.1, max=24, help="Hours of the day that is counted.")] = 24,
) -> None:
    """Processor and collector beside their peers; Kafka and the store are processes of this machine."""
    console = Console(log_path=False)
    wanted = set(only or Benchmark)
    try:
        sizes = sorted({int(size) for size in growth_sizes.split(",")})
    except ValueError:
        raise typer.BadParameter(f"--growth is {growth_sizes!r}: give whole numbers, by commas") from None
    with console.status("fetching what is compared") as status:

        def note(text: str) -> None:
            console.log(text)
            status.update(text)

        try:
            results = list(_run(wanted, events, sizes, hours, note))
        except (BenchError, ProcessError) as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from None
    console.print(_table(results))


def _run(wanted: Set[str], events: int, sizes: Sequence[int], hours: float, note: Note) -> Iterator[Result]:
    """Each part's results are in the file before the next part begins."""
    with tempfile.TemporaryDirectory(prefix="gpu-token-bench-") as temporary:
        for part in _parts(wanted, Path(temporary), events, sizes, hours, note):
            results = part()
            write(RESULTS, results)
            yield from results


def _parts(
    wanted: Set[str], folder: Path, events: int, sizes: Sequence[int], hours: float, note: Note
) -> Iterator[Callable[[], list[Result]]]:
    if Benchmark.DAY in wanted:
        yield lambda: over_a_day(folder, hours, note)
    if wanted == {Benchmark.DAY}:
        return
    peers = [peer for peer in PEERS if peer in wanted]
    for fetch in (kafka_libs, *((connector_libs, quix_python) if peers else ())):
        fetch()
    with Broker(folder, at_full_speed=True) as broker:
        if peers:
            yield lambda: ingest(broker, folder, events, peers, note)
        if "secured" in wanted:
            yield lambda: secured(folder, events, note)
        if "scrape" in wanted:
            yield lambda: scrape(broker, folder, note)
        if "intake" in wanted:
            yield lambda: intake(broker, folder, note)
        if "rollups" in wanted:
            yield lambda: marks(broker, folder, events, note)
            yield lambda: history(broker, folder, note)
        if "latency" in wanted:
            yield lambda: latency(broker, folder, note)
        if "growth" in wanted:
            yield lambda: growth(broker, folder, sizes, note)


def _table(results: Sequence[Result]) -> Table:
    table = Table("", "ours", "reference", "ratio", "spread", "unit")
    for result in results:
        numbers = (
            f"{result.ours:,.3g}",
            f"{result.reference:,.3g}",
            f"{result.ratio:.2f}",
            f"{result.spread:.0%}",
        )
        table.add_row(result.name, *numbers, result.unit)
    return table


if __name__ == "__main__":
    typer.run(main)
