"""Says what is wrong with a CATALOG.yml, and keeps it in the store. Exit status 2 for what is refused."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bson.errors import InvalidDocument
from pymongo.errors import PyMongoError

from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_changes import Plan
from gpu_token_processor.ledger.catalog_fields import CatalogError
from gpu_token_processor.ledger.catalog_file import load_catalog, read_catalog_text
from gpu_token_processor.ledger.catalog_store import apply
from gpu_token_processor.settings import SettingsError, mongo_from_environment
from gpu_token_processor.store.clients import catalog_client
from gpu_token_processor.store.failures import brief

_REFUSED = 2
_NO_STORE = 1
_STANDARD_INPUT = "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the result; on a failure one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        catalog = _read(options.file)
        if options.command == "check":
            print(f"{_name(options.file)} is right; its version is {catalog.version}.")
        else:
            planned = _apply(catalog, check=options.check)
            print(
                json.dumps(
                    {
                        "changed": bool(planned.actions),
                        "actions": planned.actions,
                        "before": planned.before,
                        "after": planned.after,
                        "version": planned.catalog.version,
                    }
                )
            )
    except (CatalogError, SettingsError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    except (PyMongoError, InvalidDocument) as error:
        print(f"The catalogue is not applied: {brief(error)}", file=sys.stderr)
        return _NO_STORE
    return 0


def _read(file: str) -> Catalog:
    if file == _STANDARD_INPUT:
        return read_catalog_text(sys.stdin.buffer.read(), _name(file))
    return load_catalog(Path(file))


def _name(file: str) -> str:
    return "standard input" if file == _STANDARD_INPUT else file


def _apply(catalog: Catalog, *, check: bool) -> Plan:
    settings = mongo_from_environment(os.environ)
    with catalog_client(settings) as client:
        return apply(client[settings.mongo_database], catalog, datetime.now(UTC), check=check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-token-catalog", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("check", help="say what is wrong with the file, if anything")
    applied = commands.add_parser(
        "apply", help="keep it in the store that the MONGO_ variables name; prints JSON"
    )
    applied.add_argument("--check", action="store_true", help="change nothing, only say what would change")
    for command in (checked, applied):
        command.add_argument("file", help="a CATALOG.yml; - is standard input")
    return parser


if __name__ == "__main__":
    sys.exit(main())
