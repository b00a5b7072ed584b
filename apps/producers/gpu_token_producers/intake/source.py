"""A source that sends by itself: what it is called, what it speaks, and what it cannot know."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gpu_token_producers.intake.state import MemoryState, State
from gpu_token_producers.sources.labels import Labels

IntakeType = Literal["openai_usage", "litellm", "otlp"]

PATHS: dict[IntakeType, str] = {
    "openai_usage": "/v1/usage",
    "litellm": "/v1/litellm",
    "otlp": "/v1/metrics",
}


@dataclass(frozen=True, slots=True)
class IntakeSource:
    """One entry of sources.yml. `state` is where `otlp` keeps what cumulative counters last said.

    Without a state of its own, a restart forgets it: each cumulative counter then begins anew with its
    next value, and what was counted in between is not sent.
    """

    name: str
    type: IntakeType
    labels: Labels = field(default_factory=Labels)
    state: State = field(default_factory=MemoryState)
    # Told of each request that was taken, with the number of its events.
    received: Callable[[int], None] = lambda _: None
