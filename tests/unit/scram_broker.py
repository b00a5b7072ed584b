"""As much of a Kafka broker as a login needs: SCRAM-SHA-512 over TLS, from the server's side of RFC 5802."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HANDSHAKE = 17
REFUSED = 58


def fields(message: bytes) -> dict[str, str]:
    """The attributes of a message of the exchange."""
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)


class ScramBroker(socketserver.ThreadingTCPServer):
    """Knows users by the keys that SCRAM keeps, as a broker does."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate)
        self.mechanisms = {"SCRAM-SHA-512"}
        self.users: dict[str, tuple[bytes, int, bytes, bytes]] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.socket.getsockname()[1]

    def set_password(self, name: str, password: str, iterations: int = 4096) -> None:
        """Keep what proves the password, not the password."""
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
        client_key, server_key = (
            hmac.new(salted, text, "sha512").digest() for text in (b"Client Key", b"Server Key")
        )
        self.users[name] = (salt, iterations, hashlib.sha512(client_key).digest(), server_key)

    def get_request(self) -> tuple[Any, Any]:
        """Wrap each connection."""
        plain, peer = super().get_request()
        return self._tls.wrap_socket(plain, server_side=True), peer

    @contextmanager
    def running(self) -> Iterator[ScramBroker]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class Exchange(socketserver.StreamRequestHandler):
    """One login."""

    server: ScramBroker

    def handle(self) -> None:
        """Kafka's frame around the exchange."""
        said = b""
        while header := self.rfile.read(4):
            request = self.rfile.read(struct.unpack(">i", header)[0])
            key, _, number, name_length = struct.unpack_from(">hhih", request)
            body = request[10 + max(name_length, 0) :]
            if key == HANDSHAKE:
                known = body[2:].decode() in self.server.mechanisms
                answer = struct.pack(">hi", 0 if known else 33, 0)
            else:
                message = body[4:]
                reply = self.challenge(message) if not said else self.verdict(said, message)
                said = said or message[3:] + b"," + (reply or b"")
                answer = (
                    struct.pack(">hhi", 0, -1, len(reply)) + reply
                    if reply
                    else struct.pack(">hh", REFUSED, 2) + b"no" + struct.pack(">i", 0)
                )
            frame = struct.pack(">i", number) + answer
            self.wfile.write(struct.pack(">i", len(frame)) + frame)

    def challenge(self, message: bytes) -> bytes | None:
        """Answer the first message; a user that nobody knows is refused."""
        asked = fields(message)
        self.name = asked["n"].replace("=2C", ",").replace("=3D", "=")
        if self.name not in self.server.users:
            return None
        salt, iterations, *_ = self.server.users[self.name]
        return f"r={asked['r']}server,s={base64.b64encode(salt).decode()},i={iterations}".encode()

    def verdict(self, said: bytes, message: bytes) -> bytes | None:
        """Judge the proof, and prove in turn."""
        *_, stored_key, server_key = self.server.users[self.name]
        unproved, _, proof = message.rpartition(b",p=")
        signed = said + b"," + unproved
        signature = hmac.new(stored_key, signed, "sha512").digest()
        client_key = bytes(a ^ b for a, b in zip(signature, base64.b64decode(proof), strict=True))
        if hashlib.sha512(client_key).digest() != stored_key:
            return None
        return b"v=" + base64.b64encode(hmac.new(server_key, signed, "sha512").digest())
