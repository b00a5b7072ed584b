"""`gpu-token-processor`: runs until it is stopped by a signal; `rollup` and `close` are commands."""

import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress

import uvicorn
from gpu_token_contracts.connections import ConnectionLimits, limited_protocol

from gpu_token_processor.api.limits import HEAD_BYTES
from gpu_token_processor.exports.command import main as close
from gpu_token_processor.rollups.command import main as rollup
from gpu_token_processor.service import Service
from gpu_token_processor.settings import HTTP_CONNECTIONS, Settings, SettingsError, from_environment

_COMMANDS = {"rollup": rollup, "close": close}
_BAD_SETTINGS = 2
# The log says why.
_NOT_STARTED = 3
# Batches of documents live too briefly to be worth looking at; at Python's own threshold of
# some hundred objects, looking took a quarter of all processor time.
_COLLECT_AFTER_OBJECTS = 100_000
# For the head of a request; none has a body.
_HEAD_SECONDS = 10.0
# With the connections, fewer than the 1024 files that a process may open by default.
_BACKLOG = 256


def main() -> int:
    """Exit status 2 for a bad setting, before anything has started."""
    if len(sys.argv) > 1:
        if command := _COMMANDS.get(sys.argv[1]):
            return command(sys.argv[2:])
        known = " or ".join(_COMMANDS)
        print(f"{sys.argv[1]} is no command: give {known}, or nothing to run the processor.", file=sys.stderr)
        return _BAD_SETTINGS
    try:
        settings = from_environment(os.environ)
        service = Service(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _BAD_SETTINGS
    gc.set_threshold(_COLLECT_AFTER_OBJECTS)
    _log(settings)
    # On SIGTERM Uvicorn shuts down cleanly, which stops the service, and then raises the signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        service.app(),
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=HEAD_BYTES,
        http=limited_protocol(
            ConnectionLimits(
                at_once=HTTP_CONNECTIONS,
                of_one_address=settings.api_connections_per_address,
                head_seconds=_HEAD_SECONDS,
                proxies=settings.trusted_proxies,
            )
        ),
        ws="none",
        # Uvicorn's default believes whoever connects from this machine.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        timeout_graceful_shutdown=settings.http_stop_seconds,
    )
    server = _Server(config, service)
    # Ctrl-C, once everything has been stopped in order.
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else _NOT_STARTED


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.end_streams()
        await super().shutdown(sockets)


def _log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stdout,
    )


if __name__ == "__main__":
    sys.exit(main())
