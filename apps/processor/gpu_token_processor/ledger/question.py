"""What is asked of the ledger, and how it is cut."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gpu_token_processor.ledger.exact import US_PER_HOUR, US_PER_SECOND

Step = Literal["hour", "day", "month"]
Basis = Literal["covered", "leased"]

STEPS: tuple[Step, ...] = ("hour", "day", "month")
BASES: tuple[Basis, ...] = ("covered", "leased")
DIMENSIONS = ("model", "deployment", "gpu", "host", "team", "tenant", "user", "workload", "api_key_hash")
TAG = "tag:"
_DIMENSION = f"({'|'.join(DIMENSIONS)}|{TAG}[^,]+)"
GROUP_BY_PATTERN = f"^{_DIMENSION}(,{_DIMENSION})*$"
# Selects GPUs, but names none.
GPU_INDEX = "gpu_index"

# More than the hours of a year.
_MAX_STEPS = 10_000
_SECONDS = {"hour": 3_600, "day": 86_400, "month": 28 * 86_400}


class QuestionError(ValueError):
    """The question cannot be answered; the message is one sentence."""


class TooManyStepsError(QuestionError):
    """The step is too short for the range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A range of event time in microseconds (None: where the events begin or end), and how to show it."""

    start_us: int | None
    end_us: int | None
    gap_us: int
    step: Step | None = None
    group_by: tuple[str, ...] = ("model",)
    basis: Basis = "covered"
    # Only what has these values in these dimensions.
    where: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Raises QuestionError."""
        require_dimensions(self.group_by)
        require_one_of("step", self.step, (None, *STEPS))
        require_one_of("basis", self.basis, BASES)
        if self.start_us is not None and self.end_us is not None:
            require_few_steps(self.step, (self.end_us - self.start_us) / US_PER_SECOND)


def require_dimensions(names: tuple[str, ...]) -> None:
    """Raises QuestionError for one that does not exist."""
    for name in names:
        if name not in DIMENSIONS and not (name.startswith(TAG) and len(name) > len(TAG)):
            raise QuestionError(
                f"group_by has {name!r}, which is no dimension: use {', '.join(DIMENSIONS)} or {TAG}<name>"
            )


def require_few_steps(step: Step | None, range_seconds: float) -> None:
    """Raises TooManyStepsError."""
    steps = range_seconds / _SECONDS[step] if step else 0
    if steps > _MAX_STEPS:
        raise TooManyStepsError(
            f"step is {step!r}, which cuts the range into {steps:.0f} parts, and {_MAX_STEPS} are the most: "
            "give a longer step or a shorter range"
        )


def parse_group_by(text: str | None) -> tuple[str, ...]:
    """The dimensions of a text such as model,team; by model if there is none."""
    return ("model",) if text is None else tuple(dict.fromkeys(text.split(",")))


def require_one_of(name: str, value: str | None, allowed: Iterable[str | None]) -> None:
    """Raises QuestionError."""
    known = tuple(allowed)
    if value not in known:
        raise QuestionError(f"{name} is {value!r}: use {' or '.join(filter(None, known))}")


def period(hour: int, step: Step | None) -> tuple[int, int] | None:
    """The beginning and the end, in microseconds, of the step that holds a clock hour; None without steps."""
    if step is None:
        return None
    begins_us = hour * US_PER_HOUR
    if step == "hour":
        return begins_us, begins_us + US_PER_HOUR
    day_us = 24 * US_PER_HOUR
    begins_us -= begins_us % day_us
    if step == "day":
        return begins_us, begins_us + day_us
    day = datetime.fromtimestamp(begins_us // US_PER_SECOND, UTC)
    first = day.replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return round(first.timestamp()) * US_PER_SECOND, round(after.timestamp()) * US_PER_SECOND
