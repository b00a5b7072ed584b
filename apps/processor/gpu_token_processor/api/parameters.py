"""Query parameters. Unknown ones are refused, so that a misspelt one is not silently ignored."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from gpu_token_contracts import TimeBounds
from gpu_token_contracts.bounds import MAX_GPU_INDEX, MAX_TEXT_LENGTH
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gpu_token_processor.ledger.question import (
    DIMENSIONS,
    GPU_INDEX,
    GROUP_BY_PATTERN,
    TAG,
    Basis,
    Step,
    parse_group_by,
    require_dimensions,
)

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", flags=re.ASCII)
# The value is all behind the first colon, and may be empty.
_TAG = re.compile(r"^[^:]+:")
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


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    WithJsonSchema({"type": "string", "format": "date-time", "example": "2026-01-01T12:00:00Z"}),
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH)]
GpuIndex = Annotated[int, Field(ge=0, le=MAX_GPU_INDEX)]
Model = Annotated[Text | None, Field(description="only events of this model", examples=["llama-3-70b"])]
Limit = Annotated[int, Field(ge=1, le=1000, description="items of a page", examples=[100])]


def _group_by(text: Any) -> Any:
    require_dimensions(parse_group_by(text if isinstance(text, str) else None))
    return text


def _tag(text: Any) -> Any:
    if not isinstance(text, str) or not _TAG.match(text):
        raise ValueError("must be name:value, such as env:prod")
    return text


GroupBy = Annotated[
    str,
    Field(max_length=1024),
    BeforeValidator(_group_by),
    WithJsonSchema({"type": "string", "pattern": GROUP_BY_PATTERN, "maxLength": 1024}),
]
Tag = Annotated[
    str,
    Field(max_length=2 * MAX_TEXT_LENGTH + 1),
    BeforeValidator(_tag),
    WithJsonSchema({"type": "string", "pattern": _TAG.pattern, "maxLength": 2 * MAX_TEXT_LENGTH + 1}),
]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RangeParameters(_Parameters):
    """A range of event time, of one host or GPU."""

    start: Time | None = Field(None, description="events from this time on")
    end: Time | None = Field(None, description="events before this time")
    host: Text | None = Field(None, description="only events of this host", examples=["gpu-a"])
    gpu_index: GpuIndex | None = Field(None, description="only events of GPUs with this index", examples=[0])


class LedgerParameters(RangeParameters):
    """A range by groups and steps, and which of them."""

    group_by: GroupBy | None = Field(
        None,
        description=f"dimensions by commas: {', '.join(DIMENSIONS)}, {TAG}<name>; by model if not given; "
        "no tag whose name has a comma",
        examples=["model,team"],
    )
    step: Step | None = Field(None, description="cut the range, in UTC")
    basis: Basis | None = Field(
        None,
        description="what counts: time that readings cover (covered), or all that is leased too (leased)",
    )
    model: Model = None
    deployment: Text | None = Field(None, description="only rows of this deployment")
    gpu: Text | None = Field(None, description="only rows of this GPU")
    team: Text | None = Field(None, description="only rows of this team")
    tenant: Text | None = Field(None, description="only rows of this tenant")
    user: Text | None = Field(None, description="only rows of this user")
    workload: Text | None = Field(None, description="only rows of this workload")
    api_key_hash: Text | None = Field(None, description="only rows of this key")
    tag: Tag | None = Field(
        None, description="only rows with this tag, as name:value; of a name without :", examples=["env:prod"]
    )

    @property
    def where(self) -> tuple[tuple[str, str], ...]:
        """What is selected, by dimension."""
        names = (GPU_INDEX, *DIMENSIONS)
        wanted = [(name, str(value)) for name in names if (value := getattr(self, name)) is not None]
        if self.tag is not None:
            name, _, value = self.tag.partition(":")
            wanted.append((TAG + name, value))
        return tuple(wanted)

    @property
    def asks_for_groups(self) -> bool:
        """Whether more is asked for than sums by model."""
        beyond = {"start", "end", "host", "gpu_index", "model", "limit", "cursor"}
        return bool(self.model_dump(exclude=beyond, exclude_none=True))


class UsageParameters(LedgerParameters):
    """A range by groups and steps; its models page by page."""

    limit: Limit = 100
    cursor: Text | None = Field(
        None, description="`next_cursor` of the page before", examples=["llama-3-70b"]
    )


class GpuParameters(_Parameters):
    """GPUs of one host or name, page by page."""

    host: Text | None = Field(None, description="only GPUs of this host", examples=["gpu-a"])
    name: Text | None = Field(None, description="only GPUs with this name", examples=["RTX 3090"])
    limit: Limit = 100
    cursor: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="`next_cursor` of the page before", examples=["gpu-a/0/RTX 3090"]
    )


class CatalogParameters(_Parameters):
    """Rows of the catalogue."""

    at: Time | None = Field(None, description="only rows that hold at this time")


class NoParameters(_Parameters):
    """No parameters."""
