"""mongod: becomes SecantusDB's server."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .settings import SettingError, Settings, about, parse


def server_arguments(settings: Settings) -> list[str]:
    """The command line of SecantusDB's daemon.

    A document acknowledged with j: true is on the disk, as with MongoDB: the daemon honours that per write.
    """
    tls = [
        f"--tls-cert-file={settings.certificate_key_file}",
        f"--tls-key-file={settings.certificate_key_file}",
        f"--tls-ca-file={settings.ca_file}",
        *(["--tls-require-client-cert"] if settings.require_client_certificate else []),
    ]
    return [
        "secantusd-py",
        f"--host={settings.bind_ip}",
        f"--port={settings.port}",
        f"--storage-path={settings.db_path}",
        f"--cache-size={max(1, round(settings.cache_size_gb * 1024))}M",
        # Like a mongod without a replica set.
        "--standalone",
        *(["--auth"] if settings.authorization else []),
        *(tls if settings.tls else []),
    ]


def main(arguments: Sequence[str]) -> None:
    """Check the settings, then replace this process."""
    try:
        settings = parse(arguments)
        if not Path(settings.db_path).is_dir():
            raise SettingError(f"Data directory {settings.db_path} not found.")
        if not os.access(settings.db_path, os.W_OK):
            raise SettingError(
                f"Data directory {settings.db_path} cannot be written by user id {os.getuid()}."
            )
        for file in (settings.certificate_key_file, settings.ca_file) if settings.tls else ():
            if not os.access(file, os.R_OK):
                raise SettingError(f"File {file} for TLS cannot be read by user id {os.getuid()}.")
    except SettingError as error:
        sys.exit(f"mongod: {error}")
    print(about(), file=sys.stderr, flush=True)
    command = server_arguments(settings)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
