"""Event time: UTC, to the microsecond."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gpu_token_contracts import bounds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Event time that is accepted, both ends included; of an interval, all of it."""

    earliest: datetime = bounds.EARLIEST_TS
    latest: datetime = bounds.LATEST_TS

    @classmethod
    def around(cls, now: datetime, *, max_age: timedelta, max_ahead: timedelta) -> "TimeBounds":
        """Bounds relative to a clock, never wider than the fixed ones."""
        if now - bounds.EARLIEST_TS > max_age:
            return cls(earliest=now - max_age, latest=now + max_ahead)
        return cls(latest=now + max_ahead)


def to_us(ts: datetime) -> int:
    """Microseconds since 1970-01-01 UTC."""
    return (ts - _EPOCH) // _MICROSECOND


def moment(us: int) -> datetime:
    """The time of microseconds since 1970-01-01 UTC. Raises OverflowError beyond years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=us)


def format_ts(ts: datetime) -> str:
    """ISO-8601 in UTC with Z, as the wire has it."""
    return ts.astimezone(UTC).isoformat().replace("+00:00", "Z")
