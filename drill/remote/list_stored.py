"""Names what of a run is in the store, as `event N`; what is there twice is named twice.

Runs in the processor's container.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE
from gpu_token_processor.settings import from_environment
from gpu_token_processor.store.clients import read_client

NUMBERS = {COLLECTION_TOKEN_USAGE: "prompt_tokens", COLLECTION_GPU_METRICS: "mem_used_mb"}


def documents(run: str, since: datetime) -> Iterator[int]:
    """The numbers of the run's events."""
    settings = from_environment(os.environ)
    database = read_client(settings)[settings.mongo_database]
    for collection, field in NUMBERS.items():
        wanted = {"ts": {"$gte": since}, "host": run}
        for document in database[collection].find(wanted, {"_id": 0, field: 1}):
            yield int(str(document[field]).partition(".")[0])


if __name__ == "__main__":
    for number in documents(sys.argv[1], datetime.fromtimestamp(float(sys.argv[2]), UTC)):
        print("event", number)
