"""One lab command at a time for an environment."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.report import Report


@contextmanager
def held(folder: Path, report: Report) -> Iterator[None]:
    """Hold the lock on a folder; waits for another command to end.

    The folder is made if need be, and removed in the end if it is empty.
    """
    descriptor = _acquire(folder, report)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
        os.close(descriptor)


def _acquire(folder: Path, report: Report) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.note("another lab command is at work here: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The command that held the lock may have removed the folder.
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
        os.close(descriptor)
