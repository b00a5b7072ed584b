"""What a reader of traces has to know of a format."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gpu_token_producers.traces.rows import TraceRow

# The request in a line, without its end: its number and its bytes. Raises ValueError with a sentence if it is
# broken. Where a line holds several, a list: each is a row, or the sentence; the number is the first's.
Parse = Callable[[int, bytes], TraceRow | list[TraceRow | str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One shape of file."""

    name: str
    # As the refusal of any other file lists it.
    shape: str
    # A parser for one reading of the rows in their order: it may remember earlier rows. Times that count from
    # 0 begin at the given one.
    parser: Callable[[datetime], Parse]
    # CSV: the first line is no row.
    has_header: bool
    # Times count from a start that the file does not tell.
    is_relative: bool = False
    # Each row tells its model.
    has_models: bool = False
    # Divides a line of several requests into lines of one; None: each line is one.
    split: Callable[[bytes], list[bytes]] | None = None
