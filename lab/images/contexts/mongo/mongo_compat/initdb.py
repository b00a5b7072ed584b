"""First start on an empty volume: makes the root user that MONGO_INITDB_ROOT_* name.

Its arguments are mongod's. A volume with data is left as it is.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from .mongod import server_arguments
from .settings import SettingError, Settings, parse

START_MS = 30_000
USER, PASSWORD = "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD"
SCRIPTS = Path("/docker-entrypoint-initdb.d")


def secret(environment: Mapping[str, str], name: str) -> str:
    """The variable itself, or the content of the file that NAME_FILE names."""
    value, file = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if value and file:
        raise SettingError(f"{name} and {name}_FILE are both set: set one.")
    return Path(file).read_text().rstrip("\n") if file else value


def root_user(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and password of the user to make, if any."""
    name, password = secret(environment, USER), secret(environment, PASSWORD)
    if bool(name) != bool(password):
        raise SettingError(f"{USER} and {PASSWORD} go together: only one is set.")
    return (name, password) if name else None


def create(settings: Settings, name: str, password: str) -> None:
    """Start the server for itself alone, make the user, and stop it again."""
    alone = replace(settings, bind_ip="127.0.0.1", authorization=False, tls=False)
    server = subprocess.Popen(server_arguments(alone))
    try:
        with MongoClient[dict[str, Any]](
            "127.0.0.1", settings.port, serverSelectionTimeoutMS=START_MS, directConnection=True
        ) as client:
            client["admin"].command("createUser", name, pwd=password, roles=[{"role": "root", "db": "admin"}])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main(arguments: Sequence[str]) -> None:
    """Do it once."""
    try:
        settings = parse(arguments)
        user = root_user(os.environ)
        database = Path(settings.db_path)
        if any(database.iterdir()):
            return
        if SCRIPTS.is_dir() and any(SCRIPTS.iterdir()):
            raise SettingError(f"{SCRIPTS} holds scripts, but this stand-in has no shell to run them.")
        if user:
            create(settings, *user)
    except (SettingError, OSError) as error:
        sys.exit(f"docker-entrypoint: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
