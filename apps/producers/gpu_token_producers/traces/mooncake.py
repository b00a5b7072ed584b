"""The traces of Mooncake, as JSON lines; other tools write this format too.

A line has `timestamp` (milliseconds from the start), `input_length`, `output_length` and `hash_ids`: names of
the prompt's blocks of 512 tokens: equal ids at the beginning of two prompts are an equal beginning.
Public: github.com/kvcache-ai/Mooncake, FAST25-release/traces.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from gpu_token_producers.traces.format import Format, Parse
from gpu_token_producers.traces.rows import MAX_REQUEST_TOKENS, TraceRow, after

BLOCK_TOKENS = 512
# Of 512 million tokens. Those that were used least recently are forgotten first, as a cache would.
MAX_BLOCKS = 1_000_000

_Tokens = Annotated[int, Meta(ge=0, le=MAX_REQUEST_TOKENS)]


class _Request(msgspec.Struct):
    timestamp: Annotated[float, Meta(ge=0)]
    input_length: _Tokens
    output_length: _Tokens
    hash_ids: list[int] | None = None


_decode = msgspec.json.Decoder(_Request).decode


class Blocks:
    """The blocks that a cache without bounds but this would hold."""

    def __init__(self, at_most: int = MAX_BLOCKS) -> None:
        self._at_most = at_most
        # In order of their last use.
        self._seen: dict[int, None] = {}

    def hits(self, ids: list[int]) -> int:
        """How many blocks at the beginning an earlier prompt has had; this one has them all from now on."""
        seen = self._seen
        hits = next((at for at, block in enumerate(ids) if block not in seen), len(ids))
        for block in ids:
            seen.pop(block, None)
            seen[block] = None
        while len(seen) > self._at_most:
            del seen[next(iter(seen))]
        return hits


def _parser(start: datetime) -> Parse:
    blocks = Blocks()

    def parse(row: int, body: bytes) -> TraceRow:
        try:
            request = _decode(body)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"It is no request: {error}.") from None
        ts = after(start, "timestamp", request.timestamp / 1000, request.timestamp)
        prompt, ids = request.input_length, request.hash_ids
        cached = None if ids is None else min(prompt, BLOCK_TOKENS * blocks.hits(ids))
        return TraceRow(row, ts, prompt, request.output_length, cached)

    return parse


MOONCAKE = Format(
    name="Mooncake",
    shape="JSON lines with timestamp, input_length, output_length and hash_ids",
    parser=_parser,
    has_header=False,
    is_relative=True,
)
