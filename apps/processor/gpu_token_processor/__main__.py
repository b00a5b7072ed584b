"""`python -m gpu_token_processor`: runs until it is stopped by a signal."""

import gc
import logging
import os
import signal
import sys

import uvicorn

from gpu_token_processor.api.limits import HEAD_BYTES
from gpu_token_processor.service import Service
from gpu_token_processor.settings import Settings, SettingsError, from_environment

_BAD_SETTINGS = 2
# Batches of documents live too briefly to be worth looking at; at Python's own threshold of
# some hundred objects, looking took a quarter of all processor time.
_COLLECT_AFTER_OBJECTS = 100_000
# Fewer requests are answered at once (api/limits.py); an idle thread takes little memory.
_HTTP_CONNECTIONS = 500


def main() -> int:
    """Exit status 2 for a bad setting, before anything has started."""
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
    uvicorn.run(
        service.app(),
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_HTTP_CONNECTIONS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        http="h11",
        timeout_graceful_shutdown=settings.http_stop_seconds,
    )
    return 0


def _log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stdout,
    )


if __name__ == "__main__":
    sys.exit(main())
