"""A second process, so that a second core works too."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

# The same on every system, and safe beside threads.
_processes = get_context("spawn")

Given = ParamSpec("Given")
Found = TypeVar("Found")


class ProcessLostError(Exception):
    """The process has ended before its work."""


@contextmanager
def beside(
    work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
) -> Iterator[Callable[[], Found]]:
    """Work that a process of its own does until the block ends.

    The call in the block waits for what the work returns, and raises what it raised.
    """
    ours, theirs = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_work, args=(theirs, work, args, kwargs), daemon=True)
    process.start()
    theirs.close()

    def found() -> Found:
        try:
            result: Found | Exception = ours.recv()
        except EOFError:
            raise ProcessLostError("The second process ended before its work; give it more memory.") from None
        if isinstance(result, Exception):
            raise result
        return result

    try:
        yield found
    finally:
        process.kill()
        process.join()
        ours.close()


def _work(
    theirs: Connection, work: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    # The terminal's Ctrl-C goes to both processes; the first ends the other.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        theirs.send(work(*args, **kwargs))
    except Exception as error:
        theirs.send(error)
