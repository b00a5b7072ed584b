"""`gpu-token-processor rollup`: what has been counted, and how to have it counted again."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from gpu_token_contracts import moment
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpu_token_processor.ledger.exact import US_PER_HOUR, stored_us
from gpu_token_processor.rollups.counting import Counting
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.settings import RollupSettings, SettingsError, rollups_from_environment
from gpu_token_processor.store.clients import rollup_client
from gpu_token_processor.store.failures import brief
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups
from gpu_token_processor.times import parse_time

_REFUSED = 2
_NO_STORE = 1
# Between two looks at what others still count.
_WAIT_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was done; on a failure one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        first, upto = _hour("--start", options.start), _hour("--end", options.end, up=True)
        if first is not None and upto is not None and first >= upto:
            raise ValueError(f"--end is {options.end!r}, which is not after --start {options.start!r}.")
        if not options.rebuild and (options.start or options.end):
            raise ValueError("--start and --end are given without --rebuild: add it, or leave them out")
        settings = rollups_from_environment(os.environ)
        _run(settings, first, upto, rebuild=options.rebuild)
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    except PyMongoError as error:
        print(f"The roll-ups are not complete: {brief(error)}", file=sys.stderr)
        return _NO_STORE
    return 0


def _run(settings: RollupSettings, first: int | None, upto: int | None, *, rebuild: bool) -> None:
    with rollup_client(settings) as client:
        hours = MongoRollups(client, settings.mongo_database, settings.retention)
        if rebuild:
            reads = MongoReads(client, settings.mongo_database)
            count = _rebuild(hours, Counting(hours, reads, settings.metric_gap_us, Pace(1)), first, upto)
            print(f"{count} hours have been counted again.")
            asked, kept = hours.first_counted() if first is None else first, hours.first_countable()
            if asked is not None and asked < kept:
                before = f"{moment(kept * US_PER_HOUR):%Y-%m-%dT%H:%M:%SZ}"
                days = settings.raw_retention_days
                print(f"Hours before {before} stay as they were counted: events are kept for {days} days.")
        backlog = hours.backlog()
        since = f", since {backlog.oldest:%Y-%m-%dT%H:%M:%SZ}" if backlog.oldest else ""
        print(f"{hours.count()} hours are counted; events of {backlog.hours} have changed since{since}.")


def _rebuild(hours: MongoRollups, counting: Counting, first: int | None, upto: int | None) -> int:
    """Processors that run help; hours that get new events meanwhile are left to them."""
    stored = hours.hours_of_events()
    wanted = range(
        stored.start if first is None else max(first, stored.start),
        stored.stop if upto is None else min(upto, stored.stop),
    )
    if not wanted:
        return 0
    token = hours.mark(wanted)
    with Progress(
        TextColumn("hours"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("hours", total=len(wanted))
        while left := hours.left_of(token):
            bar.update(task, completed=len(wanted) - left)
            if counting.count_one(wanted.start, wanted.stop) is None:
                time.sleep(_WAIT_SECONDS)
        bar.update(task, completed=len(wanted))
    return len(wanted)


def _hour(option: str, text: str | None, *, up: bool = False) -> int | None:
    """The hour of a time; with `up` the first that does not begin before it."""
    if text is None:
        return None
    try:
        given: datetime = parse_time(text)
    except ValueError as error:
        raise ValueError(f"{option} is {text!r}: it {error}.") from None
    us = stored_us(given.astimezone(UTC))
    return -(-us // US_PER_HOUR) if up else us // US_PER_HOUR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-token-processor rollup", description=__doc__)
    parser.add_argument("--rebuild", action="store_true", help="count the hours of stored events again")
    parser.add_argument("--start", help="only from this time's hour on; RFC 3339 with zone")
    parser.add_argument("--end", help="only hours that begin before this time")
    return parser
