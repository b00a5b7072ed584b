"""What one sender may cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gpu_token_producers.intake.refusal import Refusal

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    # Of a request as it comes over the wire, and of what it unpacks to.
    body_bytes: int = MIB
    unpacked_bytes: int = 4 * MIB
    # Objects in one request.
    entries: int = 10_000
    head_seconds: float = 10
    body_seconds: float = 10
    # How long Kafka may take to acknowledge.
    ack_seconds: float = 10
    requests_at_once: int = 256
    connections: int = 1_000
    # More than one sender needs who has all requests at once.
    connections_of_one_address: int = 400
    # Of all bodies that are being read or taken apart at the same time.
    bodies_bytes: int = 64 * MIB


class Room:
    """The memory that all bodies share. Used by one event loop."""

    def __init__(self, size_bytes: int) -> None:
        self._free_bytes = size_bytes

    @contextmanager
    def hold(self) -> Iterator["Held"]:
        """Room for one body, given back when the block ends."""
        held = Held(self)
        try:
            yield held
        finally:
            self._free_bytes += held.size_bytes

    def take(self, size_bytes: int) -> None:
        """Raises Refusal where there is no room left."""
        if size_bytes > self._free_bytes:
            raise Refusal(
                503, "too_many", "Too many large requests at once: try again.", retry_after_seconds=1
            )
        self._free_bytes -= size_bytes


class Held:
    """What one body has taken of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Take more. Raises Refusal where there is no room left."""
        self._room.take(size_bytes)
        self.size_bytes += size_bytes
