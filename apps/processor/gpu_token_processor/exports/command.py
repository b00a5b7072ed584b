"""`gpu-token-processor close`: months that are billed for good."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pymongo.errors import PyMongoError

from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.settings import ClosingSettings, SettingsError, closings_from_environment
from gpu_token_processor.store.clients import closing_client
from gpu_token_processor.store.closings import MongoClosings
from gpu_token_processor.store.failures import brief
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups

_REFUSED = 2
_NO_STORE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is closed; on a failure one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        month = None if options.month is None else _month(options.month)
        _run(closings_from_environment(os.environ), month)
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    except PyMongoError as error:
        print(f"The month is not closed, or not known to be: {brief(error)}", file=sys.stderr)
        return _NO_STORE
    return 0


def _run(settings: ClosingSettings, month: Month | None) -> None:
    with closing_client(settings) as client:
        closings = MongoClosings(client, settings.mongo_database)
        if month is not None:
            reads = MongoReads(client, settings.mongo_database)
            rollups = MongoRollups(client, settings.mongo_database, settings.retention)
            price = exact(settings.price_per_hour_usd)
            closed = Exports(reads, rollups, settings.metric_gap_us, price, closings).close(month)
            print(f"{closed.month} is closed; days with charges: {len(closed.days)}.")
        known = closings.all()
        closings.sweep(known, datetime.now(UTC))
        if not known:
            print("No month is closed.")
        for one in known:
            print(f"{one.month} was closed at {one.closed_at:%Y-%m-%dT%H:%M:%SZ}.")


def _month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise ValueError(f"MONTH is {text!r}: it {error}.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-token-processor close", description=__doc__)
    parser.add_argument("month", metavar="MONTH", nargs="?", help="such as 2026-10; without it, list them")
    return parser
