"""Writes files in one step."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durably: bool = False, mode: int = 0o644) -> None:
    """Replace the file in one step; a reader never sees half of it. `durably` outlives a power cut."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            if durably:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durably:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
