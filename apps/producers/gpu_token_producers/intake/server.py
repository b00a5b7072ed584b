"""Runs the intake in a thread of this process."""

import asyncio
import errno
import socket
import threading

import uvicorn
from gpu_token_contracts.connections import ConnectionLimits, limited_protocol
from starlette.types import ASGIApp

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.intake.limits import Limits

# Request line and headers.
_HEAD_BYTES = 16_384
# Longer than senders pause between two batches: one that finds its connection closed may lose what it sends.
_IDLE_SECONDS = 75
_START_SECONDS = 10.0
_BACKLOG = 512


class Server:
    """Listens from start() to stop(). Port 0 is any free one; `port` says which."""

    def __init__(
        self,
        app: ASGIApp,
        port: int,
        *,
        host: str = "0.0.0.0",
        limits: Limits | None = None,
        stop_seconds: float | None = None,
    ) -> None:
        """`stop_seconds`: how long requests that have begun may take once it is stopped; by default, all."""
        limits = limits or Limits()
        if stop_seconds is None:
            stop_seconds = limits.ack_seconds + limits.body_seconds
        self._host = host
        self.port = port
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=limited_protocol(
                    ConnectionLimits(
                        at_once=limits.connections,
                        of_one_address=limits.connections_of_one_address,
                        head_seconds=limits.head_seconds,
                    )
                ),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_SECONDS,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                timeout_graceful_shutdown=round(stop_seconds),
            )
        )
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns when it listens. Raises ProducerError if it cannot."""
        listener = self._listen()
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, started), name="intake", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_SECONDS):
            raise ProducerError(
                f"The intake on port {self.port} did not start within {_START_SECONDS:g} seconds."
            )

    def stop(self) -> None:
        """Take no new requests, answer those that have begun, and return.

        Meanwhile another thread must go on serving the deliveries they wait for.
        """
        self.request_stop()
        if self._thread is not None:
            self._thread.join()

    def request_stop(self) -> None:
        """Begin what stop() does, and return at once; `running` says when it has ended."""
        self._server.should_exit = True

    @property
    def running(self) -> bool:
        """False once the thread has ended, asked for or not."""
        return self._thread is not None and self._thread.is_alive()

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self.port))
            listener.listen(_BACKLOG)
        except (OSError, OverflowError, UnicodeError, TypeError) as error:
            listener.close()
            if isinstance(error, (socket.gaierror, UnicodeError, TypeError)) or error.args[:1] == (
                errno.EADDRNOTAVAIL,
            ):
                raise ProducerError(
                    f"intake.address is {self._host!r}, which is no IPv4 address of this machine ({error}): "
                    "give one, or 0.0.0.0 for all that it has."
                ) from error
            raise ProducerError(
                f"intake.port is {self.port}, which cannot be listened on ({error}): give a free port."
            ) from error
        return listener

    def _run(self, listener: socket.socket, started: threading.Event) -> None:
        async def serve() -> None:
            serving = asyncio.ensure_future(self._server.serve([listener]))
            while not (self._server.started or serving.done()):
                await asyncio.sleep(0.01)
            started.set()
            await serving

        asyncio.run(serve())
