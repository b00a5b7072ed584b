"""Lists what of a run's collected usage is in the store, and what was refused since, a JSON object a line.

Runs in the processor's container.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gpu_token_contracts import COLLECTION_TOKEN_USAGE
from gpu_token_processor.settings import from_environment
from gpu_token_processor.store.clients import read_client
from gpu_token_processor.store.collections import DEAD_LETTERS

AMOUNTS = ("prompt_tokens", "completion_tokens", "cached_prompt_tokens", "requests")


def notes(run: str, since: datetime) -> Iterator[dict[str, Any]]:
    """Of calls the number, which is the count of their prompt's tokens; of intervals the amounts."""
    settings = from_environment(os.environ)
    database = read_client(settings)[settings.mongo_database]
    for document in database[COLLECTION_TOKEN_USAGE].find({"host": run, "ts": {"$gte": since}}):
        note = {"id": document.get("event_id"), "at_ms": _milliseconds(document["ts"])}
        if document.get("measured_by") == "gateway":
            yield {"what": "call", **note, "number": int(document["prompt_tokens"])}
        else:
            amounts = [int(document.get(name) or 0) for name in AMOUNTS]
            yield {"what": "usage", **note, "amounts": amounts}
    for letter in database[DEAD_LETTERS].find({"ts": {"$gte": since}}):
        yield {"what": "refused", "at_ms": _milliseconds(letter["ts"]), "reason": letter["reason"]}


def _milliseconds(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


if __name__ == "__main__":
    for note in notes(sys.argv[1], datetime.fromtimestamp(float(sys.argv[2]), UTC)):
        print(json.dumps(note))
