"""Query parameters. Unknown and repeated ones are refused, so that none is silently ignored."""

import re
from collections import Counter
from datetime import datetime
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from gpu_token_contracts.bounds import MAX_GPU_INDEX, MAX_TEXT_LENGTH
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gpu_token_processor.api.gpus import CURSOR_PATTERN
from gpu_token_processor.exports.months import MONTH_PATTERN, Month
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
from gpu_token_processor.times import parse_time

# The value is all behind the first colon, and may be empty.
_TAG = re.compile(r"^[^:]+:")

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


def _gpu_cursor(text: Any) -> Any:
    if not isinstance(text, str) or not re.match(CURSOR_PATTERN, text, flags=re.ASCII):
        raise ValueError("must be the next_cursor of an answer; leave it out for the first page")
    return text


def _month(text: Any) -> Any:
    if isinstance(text, str):
        Month.parse(text)
    return text


MonthText = Annotated[
    str,
    BeforeValidator(_month),
    WithJsonSchema({"type": "string", "pattern": MONTH_PATTERN}),
]
GroupBy = Annotated[
    str,
    Field(max_length=1024),
    BeforeValidator(_group_by),
    WithJsonSchema({"type": "string", "pattern": GROUP_BY_PATTERN, "maxLength": 1024}),
]
GpuCursor = Annotated[
    str,
    Field(max_length=1024),
    BeforeValidator(_gpu_cursor),
    WithJsonSchema({"type": "string", "pattern": CURSOR_PATTERN, "maxLength": 1024}),
]
Tag = Annotated[
    str,
    Field(max_length=2 * MAX_TEXT_LENGTH + 1),
    BeforeValidator(_tag),
    WithJsonSchema({"type": "string", "pattern": _TAG.pattern, "maxLength": 2 * MAX_TEXT_LENGTH + 1}),
]


async def given_once(request: Request) -> None:
    """A dependency of routes. Raises RequestValidationError for a parameter that is given more than once."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    errors = [
        {"type": "repeated", "loc": ("query", name), "msg": f"is given {count} times: give it once"}
        for name, count in counts.items()
        if count > 1
    ]
    if errors:
        raise RequestValidationError(errors)


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TimesParameters(_Parameters):
    """A range of event time."""

    start: Time | None = Field(None, description="events from this time on")
    end: Time | None = Field(None, description="events before this time")


class RangeParameters(TimesParameters):
    """A range of event time, of one host or GPU."""

    host: Text | None = Field(None, description="only events of this host", examples=["gpu-a"])
    gpu_index: GpuIndex | None = Field(None, description="only events of GPUs with this index", examples=[0])


class GroupParameters(RangeParameters):
    """A range by groups, and which of them."""

    group_by: GroupBy | None = Field(
        None,
        description=f"dimensions by commas: {', '.join(DIMENSIONS)}, {TAG}<name>; by model if not given; "
        "no tag whose name has a comma",
        examples=["model,team"],
    )
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


class LedgerParameters(GroupParameters):
    """A range by groups and steps, and which of them."""

    step: Step | None = Field(None, description="cut the range, in UTC")

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
    cursor: GpuCursor | None = Field(
        None, description="`next_cursor` of the page before", examples=["live gpu-a/0/RTX 3090"]
    )


class FocusParameters(_Parameters):
    """One month."""

    month: MonthText | None = Field(
        None,
        description="the month that is billed; by default the running one",
        examples=["2026-10"],
    )


class CatalogParameters(_Parameters):
    """Rows of the catalogue."""

    at: Time | None = Field(None, description="only rows that hold at this time")


class NoParameters(_Parameters):
    """No parameters."""
