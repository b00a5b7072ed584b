"""`gpu-token-cost`: what tokens cost, from files of events."""

import gc
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NoReturn, TextIO, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from gpu_token_processor.api.models import CostAnswer
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.beside import ProcessLostError
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import load_catalog
from gpu_token_processor.ledger.exact import US_PER_SECOND, exact, stored_us
from gpu_token_processor.ledger.offline import Source, answer
from gpu_token_processor.ledger.question import Basis, Question, Step, parse_group_by
from gpu_token_processor.ledger.written import as_csv, as_table, visible
from gpu_token_processor.settings import within_bounds
from gpu_token_processor.times import parse_time

_STDIN = Path("-")
# Events live too briefly to be worth looking at.
_COLLECT_AFTER_OBJECTS = 100_000
_REFUSED = 2
_FAILED = 1
# Typer has no name for it.
_UsageError = cast(type[Exception], typer.BadParameter.__base__)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


Format = Literal["json", "table", "csv"]


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
    ] = "covered",
    format: Annotated[Format, typer.Option(help="How to write the answer.")] = "table",
    price_per_hour_usd: Annotated[
        float,
        typer.Option(envvar="PRICE_PER_HOUR_USD", help="USD for one GPU hour without another price."),
    ] = 0.85,
    price_per_kwh_usd: Annotated[
        float | None,
        typer.Option(
            envvar="PRICE_PER_KWH_USD", help="USD for one kWh, if the catalogue has no price of energy."
        ),
    ] = None,
    metric_gap_seconds: Annotated[
        float,
        typer.Option(envvar="METRIC_GAP_SECONDS", help="How long a reading holds without a next."),
    ] = 30,
) -> None:
    """What tokens cost, and whose they are: the answer of GET /cost, from files.

    A file holds readings of GPUs (gpu.metrics.v1) and usage (token.usage.v1), in any mixture. Exit
    status 2 and one sentence for bad input.
    """
    try:
        if catalog == _STDIN and _STDIN in events:
            raise ValueError("--catalog is '-', and so are the events: give one of them as a file")
        price = within_bounds("price_per_hour_usd", price_per_hour_usd, "--price-per-hour-usd")
        if price_per_kwh_usd is not None:
            within_bounds("price_per_kwh_usd", price_per_kwh_usd, "--price-per-kwh-usd")
        gap_seconds = within_bounds("metric_gap_seconds", metric_gap_seconds, "--metric-gap-seconds")
        question = Question(
            start_us=_bound_us("--start", start),
            end_us=_bound_us("--end", end),
            gap_us=round(gap_seconds * US_PER_SECOND),
            step=step,
            group_by=parse_group_by(group_by),
            basis=basis,
        )
        book = Book(load_catalog(catalog) if catalog else Catalog(), exact(price))
        found = _answer(events, book, question, price_per_kwh_usd)
    except ValueError as error:
        _end(_REFUSED, str(error))
    except OSError as error:
        if error.filename is None:
            _end(_FAILED, f"A temporary file cannot be written: {error.strerror}; TMPDIR says where")
        _end(_REFUSED, f"{error.filename} cannot be read: {error.strerror}")
    except ProcessLostError as error:
        _end(_FAILED, str(error))
    _print(_written(found, format, question.step))


def _end(status: int, sentence: str) -> NoReturn:
    _say(sentence)
    raise typer.Exit(status)


def _say(sentence: str) -> None:
    print(visible(sentence if sentence.endswith(".") else f"{sentence}."), file=sys.stderr)


def _bound_us(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        bound: datetime = parse_time(text)
    except ValueError as error:
        raise ValueError(f"{option} is {text!r}: it {error}") from None
    return stored_us(bound)


def _answer(
    events: list[Path], book: Book, question: Question, price_per_kwh_usd: float | None
) -> CostAnswer:
    with ExitStack() as opened:
        sources = [opened.enter_context(_source(path)) for path in events]
        bar = opened.enter_context(
            Progress(
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                disable=not _is_terminal(sys.stderr),
            )
        )
        task = bar.add_task("events", total=sum(source.path.stat().st_size for source in sources))
        return answer(sources, book, question, lambda read: bar.advance(task, read), price_per_kwh_usd)


@contextmanager
def _source(path: Path) -> Iterator[Source]:
    """What can be read only once, such as a pipe, is kept in a file, since it is read more than once."""
    if path == _STDIN:
        if sys.stdin is None:
            raise ValueError("- is standard input, which is closed: give a file or a pipe")
        with _kept(sys.stdin.buffer) as kept:
            yield Source("standard input", kept)
    elif stat.S_ISREG(path.stat().st_mode):
        # Where another process finds it too; /dev/stdin is each one's own.
        yield Source(str(path), path.resolve())
    else:
        with path.open("rb") as pipe, _kept(pipe) as kept:
            yield Source(str(path), kept)


@contextmanager
def _kept(pipe: BinaryIO) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(pipe, kept)
        kept.flush()
        yield Path(kept.name)


def _written(found: CostAnswer, form: Format, step: str | None) -> str:
    if form == "json":
        return encode_answer(found).decode() + "\n"
    if form == "csv":
        return as_csv(found)
    return as_table(found, step, on_terminal=_is_terminal(sys.stdout))


def _is_terminal(stream: TextIO | None) -> bool:
    # None: it is closed.
    return stream is not None and stream.isatty()


def _print(text: str) -> None:
    """In UTF-8, whatever the locale; nobody may be reading any more."""
    if sys.stdout is None:
        _end(_FAILED, "The answer cannot be written: standard output is closed")
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.flush()
    except OSError as error:
        # What is left is written once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(_FAILED) from None
        _end(_FAILED, f"The answer cannot be written to standard output: {error.strerror}")


def main() -> int:
    """The console script."""
    gc.set_threshold(_COLLECT_AFTER_OBJECTS)
    try:
        return app(standalone_mode=False) or 0
    except _UsageError as error:
        _say(cast(typer.BadParameter, error).format_message())
        return _REFUSED
