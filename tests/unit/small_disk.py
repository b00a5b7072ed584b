"""A small disk of its own, where this computer lets one mount it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DISK_MIB = 64
TMPFS = ("-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs")


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    """What mount(8) makes of the options, until the end of the block."""
    place.mkdir()
    done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        # It fails if anything still has a file open there.
        subprocess.run(["umount", str(place)], check=True)
