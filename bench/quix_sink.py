"""Both topics to MongoDB with Quix Streams. Runs in an environment of its own; see parts.py.

Usage: quix_sink.py BOOTSTRAP TOPIC_METRIC TOPIC_TOKEN MONGO_URL DATABASE
"""

import sys

from pymongo.uri_parser import parse_uri
from quixstreams import Application  # type: ignore[import-not-found]
from quixstreams.sinks.community.mongodb import MongoDBSink  # type: ignore[import-not-found]


def main(bootstrap: str, topic_metric: str, topic_token: str, url: str, database: str) -> None:
    """Run until stopped by a signal."""
    parsed = parse_uri(url)
    host, port = parsed["nodelist"][0]
    application = Application(
        broker_address=bootstrap, consumer_group="quix", auto_offset_reset="earliest", loglevel="WARNING"
    )
    for topic, collection in ((topic_metric, "gpu_metrics"), (topic_token, "token_usage")):
        sink = MongoDBSink(
            host=host,
            port=port,
            db=database,
            collection=collection,
            document_matcher=lambda record: {"_id": record.value["event_id"]},
            update_method="ReplaceOne",
            **parsed["options"],
        )
        application.dataframe(application.topic(topic, value_deserializer="json")).sink(sink)
    application.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
