"""What a source's settings say about its events, since the source itself cannot know it."""

from datetime import UTC, datetime
from typing import Annotated, Final

from gpu_token_contracts import InvalidEvent, TokenUsage, bounds, decode_token_usage, encode
from pydantic import BaseModel, ConfigDict, Field, model_validator

# The intake adds tags of its own to these, and an event may have 32.
MAX_LABEL_TAGS: Final = 16
# What else stands in an event: two names, an id, an endpoint, the numbers.
_ROOM_BYTES: Final = 8192

Text = Annotated[str, Field(min_length=1, max_length=bounds.MAX_TEXT_LENGTH)]


class Labels(BaseModel):
    """Fields of the events, by their names in the contract. What is not given stays unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Text | None = None
    deployment: Text | None = None
    # Of readings.
    price_per_hour_usd: Annotated[float, Field(ge=0, le=bounds.MAX_PRICE_PER_HOUR_USD)] | None = None
    # Of token usage.
    model: Text | None = None
    # The name that engines have for a model, by the source's own: all must use one name.
    models: dict[Text, Text] = {}
    gpu_uuids: Annotated[tuple[Text, ...], Field(min_length=1, max_length=bounds.MAX_GPUS)] | None = None
    tenant: Text | None = None
    team: Text | None = None
    workload: Text | None = None
    tags: (
        Annotated[
            dict[Text, Annotated[str, Field(max_length=bounds.MAX_TEXT_LENGTH)]],
            Field(max_length=MAX_LABEL_TAGS),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _makes_events(self) -> "Labels":
        """An event with a tag that the contract refuses could never be sent."""
        event = TokenUsage(
            ts=datetime(2026, 1, 1, tzinfo=UTC),
            model=self.model or "model",
            prompt_tokens=0,
            completion_tokens=0,
            host=self.host,
            deployment=self.deployment,
            gpu_uuids=self.gpu_uuids,
            tenant=self.tenant,
            team=self.team,
            workload=self.workload,
            tags=self.tags,
        )
        size = len(encode(event))
        if size > bounds.MAX_EVENT_BYTES - _ROOM_BYTES:
            raise ValueError(
                f"they take {size} bytes in each event, and may take {bounds.MAX_EVENT_BYTES - _ROOM_BYTES}: "
                "name fewer GPUs, or shorten the tags"
            )
        try:
            decode_token_usage(encode(event))
        except InvalidEvent as error:
            raise ValueError(str(error)) from None
        return self
