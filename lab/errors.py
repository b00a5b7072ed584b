"""The one error the lab raises on purpose."""


class LabError(Exception):
    """The lab cannot go on; the message is one sentence with the value and the remedy."""
