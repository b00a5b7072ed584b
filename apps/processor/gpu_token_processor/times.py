"""Times as people give them, in a question or a command. Commands need no web framework for this."""

import re
from datetime import UTC, datetime
from typing import Any

from gpu_token_contracts import TimeBounds

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", flags=re.ASCII)
_BOUNDS = TimeBounds()


def parse_time(text: Any) -> datetime:
    """RFC 3339 to UTC; times out of range become the first or last time that an event may have."""
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a time with zone, such as 2026-01-01T12:00:00Z")
    day, minute, second, fraction, zone = match.groups()
    # A leap second counts as the one before it, as Unix time has it.
    second = "59" if second == "60" else second
    zone = "+00:00" if zone in "Zz" else zone
    try:
        local = datetime.fromisoformat(f"{day}T{minute}:{second}{(fraction or '')[:7]}{zone}")
    except ValueError:
        raise ValueError("is no time of any calendar day") from None
    if local.year < _BOUNDS.earliest.year:
        return _BOUNDS.earliest
    if local.year > _BOUNDS.latest.year:
        return _BOUNDS.latest
    return min(max(local.astimezone(UTC), _BOUNDS.earliest), _BOUNDS.latest)
