"""An ASGI application on a port of its own, in a thread of this process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from testing.waiting import until


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[tuple[str, int]]:
    """Its address and port, on which it listens until the block ends; `options` are uvicorn's."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        until(lambda: server.started, "it listens", 10)
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
