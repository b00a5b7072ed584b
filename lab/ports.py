"""Is a port of this computer free?"""

from __future__ import annotations

import socket

from lab.errors import LabError


def require_free(address: str, port: int, variable: str) -> None:
    """Raise a sentence if another process listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LabError(
                f"{variable} {port} cannot be used on {address} ({error.strerror}): "
                f"stop what uses it, or set {variable} to another port."
            ) from error
