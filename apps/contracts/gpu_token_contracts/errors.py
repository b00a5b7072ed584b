"""Why an event is refused."""

from enum import StrEnum


class Reason(StrEnum):
    """Stable short codes; they travel in the header `dlq.reason` and label metrics."""

    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NOT_FINITE = "not_finite"
    BAD_TIMESTAMP = "bad_timestamp"
    # The hour that it lies in can no longer be counted again, since events of that time are not kept.
    TOO_LATE = "too_late"
    BAD_EXTRA = "bad_extra"
    UNKNOWN_VERSION = "unknown_version"
    # Another event is stored under its id.
    CONFLICT = "conflict"
    # The contract accepts the event, but the store never will.
    STORE_REFUSED = "store_refused"


class InvalidEvent(ValueError):
    """An event that can never be accepted, however often it is tried."""

    def __init__(self, reason_code: Reason, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.message = message
