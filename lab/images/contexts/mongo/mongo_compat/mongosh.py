"""mongosh: runs one database command, and prints what mongosh would print of its answer.

All it speaks is db.adminCommand(…), db.runCommand(…) and db.version(), with field access after it.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.errors import PyMongoError

EXPRESSION = re.compile(
    r"^\s*db\s*\.\s*(?P<call>adminCommand|runCommand|version)\s*\((?P<argument>.*)\)\s*(?P<path>(\.\s*\w+\s*)*);?\s*$",
    re.DOTALL,
)
TIMEOUT_MS = 5000


class ExpressionError(Exception):
    """An expression outside the language."""


def command_of(argument: str) -> dict[str, Any]:
    """A command document from a quoted name or an object literal without quotes around its keys."""
    quoted = argument.strip().replace("'", '"')
    keyed = re.sub(r"([{,]\s*)([A-Za-z_$][\w$]*)\s*:", r'\1"\2":', quoted)
    try:
        value = json.loads(keyed)
    except json.JSONDecodeError as error:
        raise ExpressionError(f"cannot read the command {argument.strip()!r}") from error
    if isinstance(value, str):
        return {value: 1}
    if not isinstance(value, dict) or not value:
        raise ExpressionError(f"{argument.strip()!r} is no command")
    return value


def evaluate(client: "MongoClient[dict[str, Any]]", database: str, expression: str) -> object:
    """The expression's value; a command that fails raises PyMongoError."""
    match = EXPRESSION.match(expression)
    if match is None:
        raise ExpressionError(
            f"this stand-in runs db.adminCommand(…), db.runCommand(…) or db.version(), not {expression!r}"
        )
    if match["call"] == "version":
        value: object = client.server_info()["version"]
    else:
        target = "admin" if match["call"] == "adminCommand" else database
        value = client[target].command(command_of(match["argument"]))
    for name in re.findall(r"\w+", match["path"]):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def shown(value: object) -> str:
    """Numbers without a needless fraction, documents as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json_util.dumps(value)


def main(arguments: Sequence[str]) -> None:
    """Run one expression; status 1 when the server is down or refuses."""
    parser = argparse.ArgumentParser(prog="mongosh", description=__doc__, allow_abbrev=False)
    parser.add_argument("address", nargs="?", default="test", help="mongodb:// address, or a database's name")
    parser.add_argument("--eval", required=True, dest="expression")
    parser.add_argument("--quiet", action="store_true", help="accepted; this stand-in never greets")
    parser.add_argument("--norc", action="store_true", help="accepted; there is no such file here")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--tlsCAFile", dest="ca_file")
    parser.add_argument("--username", "-u")
    parser.add_argument("--password", "-p")
    parser.add_argument("--authenticationDatabase", default="admin", dest="source")
    parser.add_argument(
        "--version",
        action="version",
        version=f"mongosh stand-in on PyMongo {version('pymongo')} (not MongoDB's shell)",
    )
    given = parser.parse_args(arguments)

    address = (
        given.address if "://" in given.address else f"mongodb://{given.host}:{given.port}/{given.address}"
    )
    login = {"username": given.username, "password": given.password, "authSource": given.source}
    try:
        with MongoClient[dict[str, Any]](
            address,
            serverSelectionTimeoutMS=TIMEOUT_MS,
            directConnection=True,
            **(login if given.username else {}),
            **({"tls": True, "tlsCAFile": given.ca_file} if given.tls else {}),
        ) as client:
            print(shown(evaluate(client, client.get_default_database("test").name, given.expression)))
    except (PyMongoError, ExpressionError) as error:
        # The driver appends the whole topology.
        sys.exit("mongosh: " + str(error).partition(" (configured timeouts")[0])


if __name__ == "__main__":
    main(sys.argv[1:])
