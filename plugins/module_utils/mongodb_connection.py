"""What the mongodb_* modules share: one connection, and failures as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

try:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError
except ImportError:
    DRIVER_PRESENT = False
else:
    DRIVER_PRESENT = True

# The password stays in its file on the machine, so that no task has to pass it.
STORE_ARGUMENT = {
    "store": {
        "type": "dict",
        "default": {},
        "options": {
            "url": {"type": "str", "default": "mongodb://127.0.0.1:27017", "no_log": False},
            "username": {"type": "str"},
            "password_file": {"type": "path", "no_log": False},
            "ca_file": {"type": "path"},
        },
        "required_together": [("username", "password_file")],
        "apply_defaults": True,
    }
}
CONNECTION_ARGUMENTS = {**STORE_ARGUMENT, "database": {"type": "str", "required": True}}
TIMEOUT_MS = 10_000


class LoginError(Exception):
    """There is no password to log in with; the message is one sentence."""


def password_of(store: dict[str, Any]) -> str:
    """Read the password's file."""
    try:
        return Path(store["password_file"]).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LoginError(
            f"The password of {store['username']} is read from {store['password_file']}, "
            f"which cannot be read ({error.strerror}): run the role mongo, which writes it."
        ) from error


def client_of(store: dict[str, Any], login: dict[str, str] | None = None) -> Any:
    """Make a client: with the given login, or with the store's, if it has one."""
    if login is None and store["username"]:
        login = {"username": store["username"], "password": password_of(store), "authSource": "admin"}
    options: dict[str, Any] = {"serverSelectionTimeoutMS": TIMEOUT_MS, "tz_aware": True, **(login or {})}
    if store["ca_file"]:
        options |= {"tls": True, "tlsCAFile": store["ca_file"]}
    return MongoClient(store["url"], **options)


@contextmanager
def one_sentence(module: AnsibleModule) -> Iterator[dict[str, Any]]:
    """Yield the store's parameters. If the driver or the store fails, the module ends with one sentence."""
    if not DRIVER_PRESENT:
        module.fail_json(
            msg="The Python driver is missing: install the package python3-pymongo on this machine."
        )
    store = module.params["store"]
    where = urlsplit(store["url"])
    try:
        yield store
    except LoginError as error:
        module.fail_json(msg=str(error))
    except PyMongoError as error:
        module.fail_json(msg=f"MongoDB at {where.hostname}:{where.port or 27017} refused: {error}")


@contextmanager
def connect(module: AnsibleModule) -> Iterator[Any]:
    """Yield the module's database; failures as in one_sentence."""
    with one_sentence(module) as store, client_of(store) as client:
        yield client[module.params["database"]]
