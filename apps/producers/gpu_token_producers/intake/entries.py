"""Takes a JSON body apart into its objects, so that a bad one does not spoil the others."""

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from gpu_token_producers.intake.refusal import Refusal

T = TypeVar("T")

_FAULT = re.compile(
    r"Expected `(?P<wanted>[^`]+)`(?:, got `(?P<got>\w+)`| (?P<bound><=|>=) (?P<limit>\S+))"
    r"(?: - at `\$\.?(?P<path>[^`]*)`)?"
)
_ANY = "[...]"
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "object": "an object",
    "array": "a list",
    "bool": "true or false",
}
_WHITESPACE = b" \t\r\n"
_one = msgspec.json.Decoder(msgspec.Raw).decode
_many = msgspec.json.Decoder(list[msgspec.Raw]).decode


def entries(body: bytes, most: int) -> Sequence[bytes | msgspec.Raw]:
    """The objects of one object, of an array, or of lines, each as it came.

    Raises Refusal 400 for what is not JSON, 413 for more than `most`.
    """
    body = body.strip(_WHITESPACE)
    found = _array(body) if body.startswith(b"[") else _object_or_lines(body)
    if len(found) > most:
        raise Refusal(
            413, "too_large", f"The body has {len(found)} objects, at most {most} are read.", body_read=True
        )
    return found


def decode(entry: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T:
    """One object. Raises ValueError with a sentence that quotes nothing of it."""
    try:
        return decoder.decode(entry)
    except RecursionError:
        raise ValueError("It is nested too deep.") from None
    except UnicodeError:
        raise ValueError("It is not UTF-8.") from None
    except msgspec.ValidationError as error:
        raise ValueError(_sentence(str(error))) from None
    except (msgspec.DecodeError, OverflowError):
        raise ValueError("It is not JSON.") from None


def _sentence(fault: str) -> str:
    """What the parser found, without its words for types and places."""
    found = _FAULT.fullmatch(fault)
    if found is None:
        return f"{fault}."
    path = found["path"] or ""
    where = f"Field {path}" if path else "It"
    if path.endswith(_ANY):
        where = f"A value in field {path.removesuffix(_ANY)}"
    if found["bound"]:
        return f"{where} is {'more' if found['bound'] == '<=' else 'less'} than {found['limit']}."
    wanted = [_KINDS.get(kind, kind) for kind in found["wanted"].split(" | ") if kind != "null"]
    if _KINDS["float"] in wanted:
        wanted = [kind for kind in wanted if kind != _KINDS["int"]]
    got = "a fraction" if found["got"] == "float" and _KINDS["int"] in wanted else found["got"]
    return f"{where} is {_KINDS.get(got, got)}, not {' or '.join(wanted)}."


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        return _many(body)
    except (ValueError, RecursionError):
        return _many(_repaired(body))


def _object_or_lines(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    try:
        return [_one(body)]
    except (ValueError, RecursionError):
        lines = [line for line in body.split(b"\n") if line.strip(_WHITESPACE)]
        # A line that begins otherwise belongs to one broken object.
        if len(lines) > 1 and all(line.lstrip(_WHITESPACE).startswith((b"{", b"null")) for line in lines):
            return lines
        return [msgspec.Raw(_repaired(body))]


def _repaired(body: bytes) -> bytes:
    """Python's own writer makes NaN, Infinity and halves of characters, which JSON does not have.

    Here the former are null, and the latter question marks.
    """
    try:
        content: Any = json.loads(body, parse_constant=lambda _: None)
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        raise Refusal(
            400, "unreadable", "The body is not JSON: send an object, or an array of objects.", body_read=True
        ) from None
