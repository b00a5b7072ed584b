"""A login at a Kafka broker as clients do it: SCRAM-SHA-512 (RFC 5802) over TLS."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Callable

MECHANISM = "SCRAM-SHA-512"
DIGEST = "sha512"
TIMEOUT_SECONDS = 10
# Kafka's request numbers, each with a version whose fields are fixed.
HANDSHAKE, HANDSHAKE_VERSION = 17, 1
AUTHENTICATE, AUTHENTICATE_VERSION = 36, 0
AUTHENTICATION_FAILED = 58
LARGEST_ANSWER = 65_536

# Takes the client's message and returns the server's.
Say = Callable[[bytes], bytes]


class LoginRefused(Exception):
    """The broker does not accept this user with this password."""


class LoginBroken(Exception):
    """What answers is not a broker with this kind of login; the message is one sentence."""


def keyed(key: bytes, text: bytes) -> bytes:
    """The mechanism's keyed hash."""
    return hmac.digest(key, text, DIGEST)


def attributes(message: bytes) -> dict[str, str]:
    """Read `r=…,s=…,i=…`."""
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)


def scram(say: Say, username: str, password: str) -> None:
    """Prove to the server that the password is known, and check the server's proof."""
    nonce = secrets.token_urlsafe(24)
    name = username.replace("=", "=3D").replace(",", "=2C")
    first = f"n={name},r={nonce}".encode()
    challenge = say(b"n,," + first)
    asked = attributes(challenge)
    if not asked.get("r", "").startswith(nonce):
        raise LoginBroken("The broker's answer does not belong to our question.")
    salted = hashlib.pbkdf2_hmac(
        DIGEST, password.encode(), base64.b64decode(asked["s"], validate=True), int(asked["i"])
    )
    # "biws" is the header `n,,` of the first message.
    unproved = f"c=biws,r={asked['r']}".encode()
    signed = b",".join((first, challenge, unproved))
    client_key = keyed(salted, b"Client Key")
    signature = keyed(hashlib.new(DIGEST, client_key).digest(), signed)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    verdict = attributes(say(unproved + b",p=" + base64.b64encode(proof)))
    if verdict.get("v") != base64.b64encode(keyed(keyed(salted, b"Server Key"), signed)).decode():
        raise LoginBroken("The broker does not know the password itself.")


class Connection:
    """The part of Kafka's protocol that a login needs."""

    def __init__(self, plain: socket.socket) -> None:
        self._socket = plain
        self._count = 0

    def handshake(self) -> None:
        """Choose the mechanism."""
        name = MECHANISM.encode()
        answer = self.ask(HANDSHAKE, HANDSHAKE_VERSION, struct.pack(">h", len(name)) + name)
        if struct.unpack_from(">h", answer)[0] != 0:
            raise LoginBroken(f"The broker does not offer {MECHANISM}.")

    def authenticate(self, message: bytes) -> bytes:
        """Send one message of the mechanism and return the broker's."""
        answer = self.ask(AUTHENTICATE, AUTHENTICATE_VERSION, struct.pack(">i", len(message)) + message)
        error, length = struct.unpack_from(">hh", answer)
        if error == AUTHENTICATION_FAILED:
            raise LoginRefused
        if error != 0:
            raise LoginBroken(f"The broker answered the login with Kafka's error {error}.")
        return answer[4 + max(length, 0) + 4 :]

    def ask(self, request: int, version: int, body: bytes) -> bytes:
        """Send one request and return the answer to it."""
        self._count += 1
        # Size, request, version, number of the request, and no name of a client.
        header = struct.pack(">hhih", request, version, self._count, -1)
        self._socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        (size,) = struct.unpack(">i", self._read(4))
        if not 4 <= size <= LARGEST_ANSWER:
            raise LoginBroken("What answers does not speak Kafka's protocol.")
        return self._read(size)[4:]

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            piece = self._socket.recv(size - len(read))
            if not piece:
                raise ConnectionError("it hung up")
            read += piece
        return read


def login(address: tuple[str, int], ca_file: str, username: str, password: str) -> None:
    """Log in. Raises LoginRefused for a wrong password, LoginBroken or OSError for anything else."""
    context = ssl.create_default_context(cafile=ca_file)
    with (
        socket.create_connection(address, TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as secured,
    ):
        connection = Connection(secured)
        connection.handshake()
        try:
            scram(connection.authenticate, username, password)
        except (KeyError, ValueError, struct.error) as error:
            raise LoginBroken("What answers does not speak SCRAM.") from error
