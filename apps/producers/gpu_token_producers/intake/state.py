"""Where a source keeps what must survive a restart."""

from pathlib import Path
from typing import Protocol

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.files import write_atomically


class State(Protocol):
    """One value, replaced as a whole."""

    def load(self) -> bytes | None:
        """What was saved last; None before the first time. Raises ProducerError where it cannot be read."""

    def save(self, content: bytes) -> None:
        """Keep the content; it is safe when this returns. Raises OSError, and then keeps the old one."""


class MemoryState:
    """Lasts as long as the process."""

    def __init__(self) -> None:
        self._content: bytes | None = None

    def load(self) -> bytes | None:
        """What was saved last."""
        return self._content

    def save(self, content: bytes) -> None:
        """Keep the content."""
        self._content = content


class FileState:
    """A file, replaced in one step and written through to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        """The file's content; None without a file."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProducerError(f"The state {self._path} cannot be read: {error.strerror}.") from error

    def save(self, content: bytes) -> None:
        """Replace the file. After a power cut it holds the old content or the new one."""
        write_atomically(self._path, content, durably=True, mode=0o600)
