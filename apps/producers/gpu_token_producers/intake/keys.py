"""API keys, known here only by their hash."""

import hashlib
import re

_HASH = re.compile(r"[0-9a-f]{64}")


def key_hash(key: str) -> str:
    """SHA-256 of a key, as LiteLLM stores it: one key has one hash, whoever sends it."""
    return hashlib.sha256(key.encode()).hexdigest()


def hashed(key: str) -> str:
    """What is said to be a hash already; hashed if it does not look like one."""
    return key if _HASH.fullmatch(key) else key_hash(key)
