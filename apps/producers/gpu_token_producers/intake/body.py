"""Reads the body of a request, within limits of size and time."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request

from gpu_token_producers.intake.limits import MIB, Held, Limits
from gpu_token_producers.intake.refusal import Refusal

# zlib's words for the two: with gzip's header, with its own.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
# In the request's scope: all of the body has been read.
_ENDED = "intake.body_ended"
_UNPACK_STEP_BYTES = 65_536
# Read and thrown away, so that the sender comes to read the answer instead of a reset connection.
_DRAIN_BYTES = 16 * MIB


async def read_body(request: Request, limits: Limits, held: Held) -> bytes:
    """The body, unpacked. Raises Refusal: 400, 408, 413, 415 or 503."""
    unpacker = _unpacker(request)
    _check_length(request, limits)
    packed = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in _chunks(request):
                if len(packed) + len(chunk) > limits.body_bytes:
                    raise _too_large(limits)
                held.add(len(chunk))
                packed += chunk
    except TimeoutError:
        raise Refusal(
            408, "too_slow", f"The body did not come within {limits.body_seconds:g} seconds: send it at once."
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "cut_off", "The connection ended before the body did.") from None
    return bytes(packed) if unpacker is None else _unpack(unpacker, bytes(packed), limits, held)


async def drain(request: Request, seconds: float) -> None:
    """Throw the rest of the body away, as much as comes within the time."""
    left = _DRAIN_BYTES
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(seconds):
            async for chunk in _chunks(request):
                left -= len(chunk)
                if left < 0:
                    return


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """What is left of the body. Unlike Starlette's own, it can be begun again where it was left."""
    while not request.scope.get(_ENDED):
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        request.scope[_ENDED] = not message.get("more_body", False)
        yield message.get("body", b"")


def _unpacker(request: Request) -> "zlib._Decompress | None":
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return None
    if encoding not in _WINDOW_BITS:
        raise Refusal(
            415,
            "unreadable",
            "Content-Encoding names a packing that is not read here: use gzip, deflate or none.",
            headers={"Accept-Encoding": "gzip, deflate, identity"},
        )
    return zlib.decompressobj(_WINDOW_BITS[encoding])


def _check_length(request: Request, limits: Limits) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limits.body_bytes:
        raise _too_large(limits)


def _unpack(unpacker: "zlib._Decompress", packed: bytes, limits: Limits, held: Held) -> bytes:
    unpacked = bytearray()
    try:
        while packed and not unpacker.eof:
            piece = unpacker.decompress(packed, _UNPACK_STEP_BYTES)
            packed = unpacker.unconsumed_tail
            if len(unpacked) + len(piece) > limits.unpacked_bytes:
                raise Refusal(
                    413,
                    "too_large",
                    f"The body unpacks to more than {limits.unpacked_bytes} bytes: send smaller batches.",
                    body_read=True,
                )
            held.add(len(piece))
            unpacked += piece
    except zlib.error:
        raise _broken() from None
    if not unpacker.eof or unpacker.unused_data:
        raise _broken()
    return bytes(unpacked)


def _broken() -> Refusal:
    return Refusal(
        400,
        "unreadable",
        "The body is not what Content-Encoding says: it cannot be unpacked to its end.",
        body_read=True,
    )


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413, "too_large", f"The body has more than {limits.body_bytes} bytes: send smaller batches."
    )
