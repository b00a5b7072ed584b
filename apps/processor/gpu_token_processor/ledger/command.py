"""`gpu-token-cost`: what tokens cost, from files of events."""

import gc
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from gpu_token_processor.api.models import CostAnswer
from gpu_token_processor.api.parameters import parse_time
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.beside import ProcessLostError
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import load_catalog
from gpu_token_processor.ledger.exact import US_PER_SECOND, exact, stored_us
from gpu_token_processor.ledger.offline import Source, answer
from gpu_token_processor.ledger.question import Question, parse_group_by
from gpu_token_processor.ledger.written import as_csv, as_table

_STDIN = Path("-")
# Events live too briefly to be worth looking at.
_COLLECT_AFTER_OBJECTS = 100_000

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Step(StrEnum):
    """How the range is cut."""

    hour = "hour"
    day = "day"
    month = "month"


class Basis(StrEnum):
    """What counts."""

    covered = "covered"
    leased = "leased"


class Format(StrEnum):
    """How the answer is written."""

    json = "json"
    table = "table"
    csv = "csv"


@app.command()
def cost(
    events: Annotated[
        list[Path], typer.Argument(help="Files of events, a JSON object a line; - is standard input.")
    ],
    *,
    catalog: Annotated[Path | None, typer.Option(help="YAML file of deployments, prices and leases.")] = None,
    start: Annotated[str | None, typer.Option(help="From this time on. Default: the first event.")] = None,
    end: Annotated[str | None, typer.Option(help="Before this time. Default: after the last event.")] = None,
    step: Annotated[Step | None, typer.Option(help="Cut the range, in UTC.")] = None,
    group_by: Annotated[
        str, typer.Option(help="Dimensions by commas: model, deployment, gpu, host, team, …, tag:<name>.")
    ] = "model",
    basis: Annotated[
        Basis, typer.Option(help="Time that readings cover, or all that is leased too.")
    ] = Basis.covered,
    format: Annotated[Format, typer.Option(help="How to write the answer.")] = Format.table,
    price_per_hour_usd: Annotated[
        float,
        typer.Option(envvar="PRICE_PER_HOUR_USD", min=0, help="USD for one GPU hour without another price."),
    ] = 0.85,
    metric_gap_seconds: Annotated[
        float,
        typer.Option(envvar="METRIC_GAP_SECONDS", min=0.001, help="How long a reading holds without a next."),
    ] = 30,
) -> None:
    """What tokens cost, and whose they are: the answer of GET /cost, from files.

    A file holds readings of GPUs (gpu.metrics.v1) and usage (token.usage.v1), in any mixture. Exit
    status 2 and one sentence for bad input.
    """
    try:
        question = Question(
            start_us=_bound_us("--start", start),
            end_us=_bound_us("--end", end),
            gap_us=round(metric_gap_seconds * US_PER_SECOND),
            step=step.value if step else None,
            group_by=parse_group_by(group_by),
            basis=basis.value,
        )
        book = Book(load_catalog(catalog) if catalog else Catalog(), exact(price_per_hour_usd))
        found = _answer(events, book, question)
    except ValueError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename} cannot be read: {error.strerror}")
    except ProcessLostError as error:
        _refuse(str(error), status=1)
    _write(found, format)


def _refuse(sentence: str, status: int = 2) -> None:
    print(sentence if sentence.endswith(".") else f"{sentence}.", file=sys.stderr)
    raise typer.Exit(status)


def _bound_us(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        bound: datetime = parse_time(text)
    except ValueError as error:
        raise ValueError(f"{option} is {text!r}: it {error}") from None
    return stored_us(bound)


def _answer(events: list[Path], book: Book, question: Question) -> CostAnswer:
    with ExitStack() as opened:
        sources = [opened.enter_context(_source(path)) for path in events]
        bar = opened.enter_context(
            Progress(
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                disable=not sys.stderr.isatty(),
            )
        )
        task = bar.add_task("events", total=sum(source.path.stat().st_size for source in sources))
        return answer(sources, book, question, lambda read: bar.advance(task, read))


@contextmanager
def _source(path: Path) -> Iterator[Source]:
    """What comes through a pipe is kept in a file, since it is read more than once."""
    if path != _STDIN and not path.is_fifo():
        yield Source(str(path), path)
        return
    name = "standard input" if path == _STDIN else str(path)
    with tempfile.NamedTemporaryFile() as kept:
        with nullcontext(sys.stdin.buffer) if path == _STDIN else path.open("rb") as pipe:
            shutil.copyfileobj(pipe, kept)
        kept.flush()
        yield Source(name, Path(kept.name))


def _write(found: CostAnswer, form: Format) -> None:
    if form is Format.json:
        print(encode_answer(found).decode())
    elif form is Format.csv:
        print(as_csv(found), end="")
    else:
        Console().print(as_table(found))


def main() -> None:
    """The console script."""
    gc.set_threshold(_COLLECT_AFTER_OBJECTS)
    app()
