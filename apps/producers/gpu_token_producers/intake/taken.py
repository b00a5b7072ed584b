"""What a reader made of one request."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gpu_token_contracts import TokenUsage

# The counts go on; a sender learns nothing from the thousandth sentence.
_SHOWN = 100


@dataclass(slots=True)
class Taken:
    """Events to send, what is no event by reason, and what could not be read: index and sentence."""

    events: list[TokenUsage] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[int, str]] = field(default_factory=list)

    @property
    def useless(self) -> bool:
        """Nothing in it could be read."""
        return bool(self.refused) and not self.events and not self.ignored

    def report(self) -> dict[str, Any]:
        """As the answer says it: `refused` lists the first hundred."""
        return {
            "accepted": len(self.events),
            "ignored": dict(self.ignored),
            "refused_count": len(self.refused),
            "refused": [{"index": index, "reason": reason} for index, reason in self.refused[:_SHOWN]],
        }
