"""Which format a file has, by its first line."""

import codecs

import msgspec

from gpu_token_producers.traces import azure, burstgpt
from gpu_token_producers.traces.azure import AZURE, AZURE_MULTIMODAL
from gpu_token_producers.traces.copilot import COPILOT
from gpu_token_producers.traces.format import Format
from gpu_token_producers.traces.mooncake import MOONCAKE

FORMATS = (AZURE, AZURE_MULTIMODAL, burstgpt.burstgpt(burstgpt.HEADER), MOONCAKE, COPILOT)

UTF8_BOM = b"\xef\xbb\xbf"
_SHOWN_LENGTH = 200


class UnknownFormatError(ValueError):
    """Says what the line is instead, and what can be read."""

    def __init__(self, found: str) -> None:
        readable = "; ".join(f"{one.shape} ({one.name})" for one in FORMATS)
        super().__init__(
            f"its first line {found}. Read are: {readable}; each also compressed by gzip or zstd."
        )


def format_of(first_line: bytes) -> Format:
    """Raises UnknownFormatError."""
    if first_line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnknownFormatError("is UTF-16, which must be saved as UTF-8")
    line = first_line.removeprefix(UTF8_BOM).strip()
    if line.startswith(b"{"):
        return _of_json(line)
    header = tuple(cell.strip().decode("utf-8", "replace") for cell in line.split(b","))
    if header == azure.HEADER:
        return AZURE
    if header == azure.MULTIMODAL_HEADER:
        return AZURE_MULTIMODAL
    if sorted(header) in (sorted(burstgpt.HEADER), sorted(burstgpt.LATER_HEADER)):
        return burstgpt.burstgpt(header)
    raise UnknownFormatError(f"is {_brief(','.join(header))}" if line else "is empty")


def _of_json(line: bytes) -> Format:
    try:
        keys = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise UnknownFormatError(f"is no JSON object: {error}") from None
    if {"timestamp", "input_length"} <= keys.keys():
        return MOONCAKE
    if {"session_id", "turns"} <= keys.keys():
        return COPILOT
    raise UnknownFormatError(f"has the keys {_brief(', '.join(keys))}" if keys else "has no keys")


def _brief(text: str) -> str:
    printable = "".join(char if char.isprintable() else "�" for char in text)
    return printable if len(printable) <= _SHOWN_LENGTH else printable[:_SHOWN_LENGTH] + "…"
