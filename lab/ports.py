"""Ports of this computer that are free."""

from __future__ import annotations

import socket

from lab.errors import LabError

_IP_FREEBIND = 15
"""Linux's option to bind an address that no interface has yet; Python 3.11 does not name it."""


def require_free(address: str, port: int, variable: str) -> None:
    """Raise a sentence if another process listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError as error:
            raise LabError(
                f"{variable} {port} cannot be used on {address} ({error.strerror}): "
                f"stop what uses it, or set {variable} to another port."
            ) from error


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
