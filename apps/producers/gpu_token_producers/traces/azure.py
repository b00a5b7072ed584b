"""The Azure inference traces of 2023, 2024 and 2025, as CSV.

Times have no zone (UTC is meant) or `+00:00`, and up to seven fractional digits; lines end in CRLF or LF, the
last one perhaps in neither. Public: github.com/Azure/AzurePublicDataset.
"""

from datetime import datetime

from gpu_token_producers.traces.format import Format, Parse
from gpu_token_producers.traces.rows import TraceRow, tokens, utc

TIMESTAMP, CONTEXT, GENERATED = HEADER = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MULTIMODAL_HEADER = ("TIMESTAMP", "NumImages", "ContextTokens", "GeneratedTokens")


def parse_row(row: int, body: bytes) -> TraceRow:
    """One line without its end; raises ValueError with a sentence if it is broken."""
    cells = body.split(b",")
    if len(cells) != len(HEADER):
        raise ValueError(_columns(cells, HEADER))
    return TraceRow(row, utc(TIMESTAMP, cells[0]), tokens(CONTEXT, cells[1]), tokens(GENERATED, cells[2]))


def _parse_multimodal(row: int, body: bytes) -> TraceRow:
    cells = body.split(b",")
    if len(cells) != len(MULTIMODAL_HEADER):
        raise ValueError(_columns(cells, MULTIMODAL_HEADER))
    return TraceRow(row, utc(TIMESTAMP, cells[0]), tokens(CONTEXT, cells[2]), tokens(GENERATED, cells[3]))


def _columns(cells: list[bytes], header: tuple[str, ...]) -> str:
    return f"It has {len(cells)} columns instead of {len(header)}."


def _parser(_: datetime) -> Parse:
    return parse_row


def _multimodal_parser(_: datetime) -> Parse:
    return _parse_multimodal


AZURE = Format(
    name="Azure LLM inference 2023, 2024", shape=f"CSV {','.join(HEADER)}", parser=_parser, has_header=True
)
AZURE_MULTIMODAL = Format(
    name="Azure LMM inference 2025",
    shape=f"CSV {','.join(MULTIMODAL_HEADER)}",
    parser=_multimodal_parser,
    has_header=True,
)
