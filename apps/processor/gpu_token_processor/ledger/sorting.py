"""Sorts more lines than memory holds, in temporary files."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from itertools import islice

# A line is a few hundred bytes: a chunk takes some 100 MB.
_LINES_IN_MEMORY = 200_000


def in_order(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, each of which ends in a line feed, in the order of their bytes."""
    with ExitStack() as files:
        chunks = []
        left = iter(lines)
        while chunk := list(islice(left, _LINES_IN_MEMORY)):
            file = files.enter_context(tempfile.TemporaryFile())
            chunk.sort()
            file.writelines(chunk)
            file.seek(0)
            chunks.append(file)
        yield from merge(*chunks)
