"""The most that the store can take from one client: documents encoded beforehand, written in a loop.

Usage: python -m bench.bulk_loop BOOTSTRAP TOPIC_METRIC TOPIC_TOKEN MONGO_URL DATABASE EVENTS
Reads EVENTS from the topics before it writes the first.
"""

import signal
import sys
from collections.abc import Iterator
from datetime import timedelta

import bson
from bson.raw_bson import RawBSONDocument
from confluent_kafka import Consumer
from gpu_token_contracts import topic_registry
from gpu_token_processor.pipeline.decoding import Decoder
from pymongo import MongoClient

_BATCH_EVENTS = 1_000

# A batch's documents by collection.
Batch = dict[str, list[RawBSONDocument]]


def main(bootstrap: str, topic_metric: str, topic_token: str, url: str, database: str, events: str) -> None:
    """Run until stopped by a signal, as the other systems do."""
    batches = list(_batches(bootstrap, topic_metric, topic_token, int(events)))
    client: MongoClient[RawBSONDocument] = MongoClient(url)
    for batch in batches:
        for collection, documents in batch.items():
            client[database][collection].insert_many(documents, ordered=False)
    signal.pause()


def _batches(bootstrap: str, topic_metric: str, topic_token: str, events: int) -> Iterator[Batch]:
    """The documents that the processor would write, in batches as it would make them."""
    decoder = Decoder(
        topic_registry(topic_metric, topic_token),
        max_age=timedelta(days=3_650),
        max_ahead=timedelta(minutes=10),
    )
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "bulk-loop", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic_metric, topic_token])
    while events > 0:
        records = consumer.consume(min(_BATCH_EVENTS, events), timeout=1)
        events -= len(records)
        if records:
            yield {
                collection: [RawBSONDocument(bson.encode(document)) for document in writes.documents]
                for collection, writes in decoder.decode(records).writes.items()
                if writes.documents
            }
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
