"""What tells the ids of one run's events from those of another."""

import hashlib

import msgspec

_DIGITS = 16


def digest(*content: object) -> str:
    """Short hash of all that events are made of: the same for the same, another for all else."""
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:_DIGITS]
