"""How many connections an HTTP server keeps, how many of one address, and how long one may be silent.

Needs uvicorn: the extra `http` of this package.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from gpu_token_contracts.notes import Notes

log = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network

_NOTE_SECONDS = 10.0
# What one customer of a provider has at least; whoever has it may use any address of it.
_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Times in seconds."""

    at_once: int
    of_one_address: int
    # For the head of a request, once its first byte has come or the connection is made; and for an answer
    # that waits to be read, in which some of it must go out.
    head_seconds: float
    # Each of these has the connections of many clients.
    proxies: tuple[Network, ...] = ()


def limited_protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """Uvicorn's protocol within these limits; the class counts the connections of one server.

    A connection beyond a limit takes the place of the one that has waited longest without a request: of its
    own address, or of the address that has most. It is closed if every other has a request in hand.
    """
    connections = _Connections(limits)
    notes = Notes(log)

    class Protocol(_LimitedProtocol):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.of = connections
            self.head_seconds = limits.head_seconds
            self.logger = _OfClients(self, notes)  # type: ignore[assignment]

    return Protocol


def one_client(address: str) -> str:
    """What stands for all addresses of one client: its IPv4 address, or the /64 of its IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed), _IPV6_PREFIX), strict=False))
    return address


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether it is an address of one of the networks."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


class _LimitedProtocol(H11Protocol):
    of: "_Connections"
    head_seconds: float
    address = ""
    is_proxy = False
    waits_since = 0.0
    _late: asyncio.TimerHandle | None = None
    _look: asyncio.TimerHandle | None = None
    # Bytes of an answer that had not gone out at the last look.
    _left_bytes: int | None = None

    @property
    def waits(self) -> bool:
        """Whether it has no request in hand."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self.address = one_client(address)
        self.is_proxy = is_within(address, self.of.proxies)
        self.waits_since = self.loop.time()
        if not self.of.admit(self):
            transport.abort()
            return
        self._watch_head()
        self._look = self.loop.call_later(self.head_seconds, self._look_at_answer)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        self.waits_since = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        self._left_bytes = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._late, self._look):
            if timer is not None:
                timer.cancel()
        self.of.remove(self)
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if not self.waits and self._late is not None:
            self._late.cancel()
            self._late = None
        elif self.waits and self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self.waits:
            self.transport.close()

    def _look_at_answer(self) -> None:
        """Hang up on who does not read. Nothing is added to an answer while it is not read, or is ending."""
        left_bytes = None
        if self.transport.is_closing() or self.flow.write_paused:
            left_bytes = self.transport.get_write_buffer_size()
            if self._left_bytes is not None and left_bytes >= self._left_bytes:
                self.transport.abort()
                return
        self._left_bytes = left_bytes
        self._look = self.loop.call_later(self.head_seconds, self._look_at_answer)


class _OfClients(logging.LoggerAdapter[logging.Logger]):
    """Uvicorn's logger. It warns of what a client sends, and a flood of that must not fill the log."""

    def __init__(self, protocol: _LimitedProtocol, notes: Notes) -> None:
        super().__init__(protocol.logger)
        self._protocol = protocol
        self._notes = notes

    @property
    def level(self) -> int:
        """Asked by uvicorn before it traces."""
        return self.logger.level

    def warning(self, msg: object, *_: object, **__: object) -> None:
        """Say it at most once a minute, and who it was."""
        self._notes.say(str(msg), "a connection of %s: %s", self._protocol.address, msg)


class _Connections:
    """All of one server, by address."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.proxies = limits.proxies
        self._of: dict[str, set[_LimitedProtocol]] = defaultdict(set)
        self._count = 0
        self._noted_at = float("-inf")

    def admit(self, new: _LimitedProtocol) -> bool:
        """Count it, in the place of another if need be. False: there is no room for it."""
        limits = self._limits
        if len(self._of[new.address]) >= limits.of_one_address and not new.is_proxy:
            room = self._make_room(self._of[new.address], new)
        elif self._count >= limits.at_once:
            by_number = sorted(self._of.values(), key=len, reverse=True)
            room = any(self._make_room(connections, new) for connections in by_number)
        else:
            room = True
        if room:
            self._of[new.address].add(new)
            self._count += 1
        return room

    def remove(self, one: _LimitedProtocol) -> None:
        """Forget it; nothing happens if it is not known."""
        connections = self._of[one.address]
        if one in connections:
            connections.remove(one)
            self._count -= 1
        if not connections:
            del self._of[one.address]

    def _make_room(self, connections: Iterable[_LimitedProtocol], new: _LimitedProtocol) -> bool:
        waiting = [one for one in connections if one.waits]
        if waiting:
            # Only if there is no other, one whose client may still read its last answer.
            longest = min(waiting, key=lambda one: (one.transport.get_write_buffer_size(), one.waits_since))
            self.remove(longest)
            longest.transport.abort()
            self._note(new, "closed the connection that had waited longest without a request, of %s", longest)
        else:
            self._note(new, "closed a new connection of %s: there are too many", new)
        return bool(waiting)

    def _note(self, new: _LimitedProtocol, text: str, whose: _LimitedProtocol) -> None:
        # A flood must not fill the log.
        now = new.loop.time()
        if now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            log.warning(text, whose.address)
