"""What a target answers to an HTTP GET, within limits of time and size."""

import asyncio
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, NamedTuple, Self

import httpx

# Of an answer once it is unpacked.
MAX_BYTES: Final = 32 * 1024 * 1024
_MAX_SHOWN: Final = 200


class SourceError(Exception):
    """Why a source gave nothing, as the end of a sentence that begins with its name.

    `kind` is the same for the same trouble, whatever the numbers in the sentence.
    """

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Answer(NamedTuple):
    """A body, and how far the target's clock is ahead of ours."""

    body: bytes
    content_type: str
    clock_ahead_us: int


class Fetcher:
    """A client of one target, which keeps its connection. Of one thread.

    The time limit is that of the whole: name, connection, head and body. A client that blocks has
    no such limit, only one for each piece, and a target that sends a byte a second keeps it for ever.
    """

    def __init__(self, timeout_seconds: float, token_file: Path | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._token_file = token_file
        self._runner = asyncio.Runner()
        self._asking: asyncio.Task[Answer] | None = None
        self._client = httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, in the thread that has asked."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    def give_up(self) -> None:
        """End a wait for an answer, which then raises SourceError. From any thread."""
        task = self._asking
        if task is not None:
            # Its loop may have ended meanwhile.
            with suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)

    def get(self, url: str, params: Mapping[str, str | float] | None = None, *, accept: str) -> Answer:
        """The answer, if its status is 200; raises SourceError."""
        # Not every encoding that the client knows has a limit to what a few bytes unpack to.
        headers = {"accept": accept, "accept-encoding": "gzip"}
        if self._token_file is not None:
            headers["authorization"] = f"Bearer {self._token(self._token_file)}"
        try:
            return self._runner.run(self._get(url, dict(params or {}), headers))
        except asyncio.CancelledError:
            raise SourceError("given up", "was not waited for any longer") from None
        except TimeoutError:
            raise SourceError(
                "too slow", f"did not answer within {self._timeout_seconds:g} seconds"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = _shown(str(error)) or type(error).__name__
            raise SourceError(
                f"unreachable {type(error).__name__}", f"cannot be reached: {reason}"
            ) from error

    async def _get(self, url: str, params: dict[str, str | float], headers: dict[str, str]) -> Answer:
        self._asking = asyncio.current_task()
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream("GET", url, params=params, headers=headers) as response,
            ):
                body = await _body(response)
                if response.status_code != 200:
                    raise SourceError(f"status {response.status_code}", _status(response, body))
                return Answer(body, response.headers.get("content-type", ""), _clock_ahead_us(response))
        finally:
            self._asking = None

    def _token(self, path: Path) -> str:
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
            raise SourceError(
                "no token", f"has the token_file {str(path)!r}, which cannot be read: {reason}"
            ) from None
        if not token.isprintable() or " " in token or not token:
            raise SourceError(
                "no token", f"has the token_file {str(path)!r}, which must hold one token and no more"
            )
        return token


async def _body(response: httpx.Response) -> bytes:
    """The body, unpacked. Raises SourceError where it is too large or cannot be unpacked."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise SourceError("encoding", f"answers in the encoding {_shown(encoding)!r}: it was asked for gzip")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, MAX_BYTES + 1 - len(body))
        except zlib.error as error:
            raise SourceError("encoding", f"answers what is not gzip, though it says so ({error})") from error
        if len(body) > MAX_BYTES:
            raise SourceError(
                "too large", f"answers more than {MAX_BYTES // 1024 // 1024} MiB: give it less to export"
            )
    if unpack is not None and not unpack.eof:
        raise SourceError("encoding", "answers gzip that ends too early")
    return bytes(body)


def _status(response: httpx.Response, body: bytes) -> str:
    text = _shown(body[:_MAX_SHOWN].decode("utf-8", "replace"))
    where = f" to {_shown(response.headers['location'])}" if response.has_redirect_location else ""
    return f"answers {response.status_code} {_shown(response.reason_phrase)}".rstrip() + (
        f"{where} ({text})" if text else where
    )


def _shown(text: str) -> str:
    """A target's words, fit for a line of a log."""
    printable = "".join(character if character.isprintable() else " " for character in text[:_MAX_SHOWN])
    return " ".join(printable.split())


def _clock_ahead_us(response: httpx.Response) -> int:
    """By the header Date, which has whole seconds. An answer without it is taken to have our time."""
    now = datetime.now(UTC)
    try:
        theirs = parsedate_to_datetime(response.headers["date"])
        return round((theirs - now).total_seconds()) * 1_000_000
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0
