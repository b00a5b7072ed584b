"""The least that a client can do to store events: consume, decode, encode as BSON, and nothing else.

Usage: python -m bench.floor BOOTSTRAP TOPIC_METRIC TOPIC_TOKEN
Prints the number of events encoded so far, a line a batch, until it is told to stop.
"""

import gc
import sys
from datetime import datetime

import bson
import msgspec
from confluent_kafka import Consumer
from gpu_token_contracts import GpuMetric, TokenUsage

# The same as in the processor, so that neither has an advantage.
_BATCH_EVENTS = 1_000
_COLLECT_AFTER_OBJECTS = 100_000


def main(bootstrap: str, topic_metric: str, topic_token: str) -> None:
    """Read both topics from their beginning."""
    gc.set_threshold(_COLLECT_AFTER_OBJECTS)
    decoders = {
        topic_metric: msgspec.json.Decoder(GpuMetric).decode,
        topic_token: msgspec.json.Decoder(TokenUsage).decode,
    }
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "floor", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic_metric, topic_token])
    encoded = 0
    while True:
        records = consumer.consume(_BATCH_EVENTS, timeout=0.05)
        for record in records:
            # Only records that are errors have no topic or value.
            event = decoders[record.topic()](record.value())  # type: ignore[index,arg-type]
            bson.encode(msgspec.to_builtins(event, builtin_types=(datetime,)))
        if records:
            encoded += len(records)
            print(encoded, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
