"""The GitHub Copilot coding agent traces of 2026: JSON lines, a session each, with all its calls of models.

The sessions overlap in time. Public: github.com/Azure/AzurePublicDataset, release ghcp-coding-agent-2026.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from gpu_token_producers.traces.format import Format, Parse
from gpu_token_producers.traces.rows import MAX_REQUEST_TOKENS, TraceRow, label, latency_ms, shown, utc


class _Tokens(msgspec.Struct):
    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None


class _Call(msgspec.Struct, omit_defaults=True):
    timestamp: str | None = None
    duration_ms: float | None = None
    model: str | None = None
    tokens: _Tokens | None = None


class _Turn(msgspec.Struct):
    llm_calls: list[_Call] | None = None


class _Session(msgspec.Struct):
    session_id: str
    turns: list[_Turn]


_decode = msgspec.json.Decoder(_Session).decode


def _parser(_: datetime) -> Parse:
    return _parse


def _parse(row: int, body: bytes) -> list[TraceRow | str]:
    session = _session(body)
    rows: list[TraceRow | str] = []
    for turn, call in _calls(session):
        try:
            rows.append(_row(row + len(rows), session.session_id, call))
        except ValueError as error:
            rows.append(f"In turn {turn}: {error}")
    return rows


def _split(body: bytes) -> list[bytes]:
    """Each call as a session of its own, without all that `replay` does not use."""
    session = _session(body)
    return [msgspec.json.encode(_Session(session.session_id, [_Turn([call])])) for _, call in _calls(session)]


def _session(body: bytes) -> _Session:
    try:
        session = _decode(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"It is no session: {error}.") from None
    label("session_id", session.session_id)
    return session


def _calls(session: _Session) -> Iterator[tuple[int, _Call]]:
    """All calls, each with the number of its turn, from 1."""
    for number, turn in enumerate(session.turns, start=1):
        for call in turn.llm_calls or ():
            yield number, call


def _row(row: int, session: str, call: _Call) -> TraceRow:
    if call.timestamp is None or call.model is None:
        raise ValueError("a call has no timestamp or no model.")
    counts = call.tokens or _Tokens()
    prompt, completion, cached = counts.prompt, counts.completion, counts.cached
    if prompt is None or completion is None:
        raise ValueError("a call has no count of its tokens.")
    for name, count in (("prompt", prompt), ("completion", completion), ("cached", cached or 0)):
        if not 0 <= count <= MAX_REQUEST_TOKENS:
            raise ValueError(f"{name} is {shown(count)}, not from 0 to {MAX_REQUEST_TOKENS}.")
    if cached is not None and cached > prompt:
        raise ValueError(f"cached is {cached}, more than prompt, which is {prompt}.")
    duration_ms = call.duration_ms
    return TraceRow(
        row,
        utc("timestamp", call.timestamp),
        prompt,
        completion,
        cached,
        None if duration_ms is None else latency_ms("duration_ms", duration_ms, duration_ms),
        label("model", call.model),
        session,
    )


COPILOT = Format(
    name="GitHub Copilot agents 2026",
    shape="JSON lines with session_id and turns",
    parser=_parser,
    has_header=False,
    has_models=True,
    split=_split,
)
