"""Files as they are, or unpacked on the way, by the bytes that they begin with."""

import gzip
import io
import sys
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from gpu_token_producers.errors import ProducerError

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# Where the first header of an archive says what it is.
_TAR_MARK_AT, _TAR_MARK = 257, b"ustar"
_BUFFER_BYTES = 1 << 20
# Of packed bytes; each step unpacks all of them.
_STEP_BYTES = 1 << 15
_PRINT_SECONDS = 5.0
# What unpacking raises where the file is damaged; what the disk raises is an OSError.
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError)


def is_packed(path: Path) -> bool:
    """Whether the file is compressed, whatever its name."""
    with path.open("rb") as file:
        return file.read(len(_ZSTD)).startswith((_GZIP, _ZSTD))


def open_unpacked(path: Path, doing: str | None = None) -> "io.BufferedReader[Any]":
    """The content, to be read once from its beginning.

    `doing` is what standard error is told every few seconds, with the part of the file that has been read.
    Reading raises one of DAMAGED where packed content breaks off or is none. Raises ProducerError for a tar
    archive, packed or not.
    """
    raw = path.open("rb", buffering=0) if doing is None else _Watched(path, doing)
    file: io.BufferedReader[Any] = io.BufferedReader(raw, _BUFFER_BYTES)
    begin = file.peek(len(_ZSTD))
    if begin.startswith(_GZIP):
        unpacked: io.RawIOBase = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
    elif begin.startswith(_ZSTD):
        unpacked = _Zstd(file)
    else:
        return _no_tar(file, path)
    # The lines of a buffered reader come several times as fast.
    return _no_tar(io.BufferedReader(unpacked, _BUFFER_BYTES), path)


def _no_tar(content: "io.BufferedReader[Any]", path: Path) -> "io.BufferedReader[Any]":
    mark_ends = _TAR_MARK_AT + len(_TAR_MARK)
    if content.peek(mark_ends)[_TAR_MARK_AT:mark_ends] == _TAR_MARK:
        content.close()
        raise ProducerError(f"{path} is a tar archive: unpack it (tar -xf), and give a file that was in it.")
    return content


class _Watched(io.FileIO):
    """Tells how far it has been read."""

    def __init__(self, path: Path, doing: str) -> None:
        super().__init__(path)
        self._name, self._doing = path.name, doing
        self._bytes = max(1, path.stat().st_size)
        self._read = 0
        self._due = time.monotonic() + _PRINT_SECONDS

    def readinto(self, buffer: "bytearray | memoryview") -> int | None:  # type: ignore[override]
        count = super().readinto(buffer)
        self._read += count or 0
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PRINT_SECONDS
            part = min(1.0, self._read / self._bytes)
            print(f"{self._name}: {self._doing}, {part:.0%}", file=sys.stderr, flush=True)
        return count


class _Zstd(io.RawIOBase):
    """Unpacks one frame after the other. The library's own reader does not tell a frame that breaks off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = b""
        self._unpacked = memoryview(b"")
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        while not self._unpacked:
            self._packed = self._packed or self._file.read(_STEP_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the file ends within a zstd frame")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._unpacked = memoryview(self._frame.decompress(self._packed))
            self._packed = b""
            if self._frame.eof:
                self._packed = self._frame.unused_data
                self._frame = None
        count = min(len(buffer), len(self._unpacked))
        buffer[:count] = self._unpacked[:count]
        self._unpacked = self._unpacked[count:]
        return count


def damaged(path: Path, error: Exception, kind: str = "Trace") -> ProducerError:
    """The refusal of a packed file that cannot be unpacked."""
    return ProducerError(f"{kind} {path} is damaged: {error}. Fetch or compress it again.")
