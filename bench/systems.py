"""The systems that store events: the processor and those it is compared with, each as one process.

All write with the same durability, a batch at a time, under an id that makes a second delivery harmless.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE

from bench.events import Topics
from bench.parts import connector_libs, quix_python
from bench.store import WatchedStore
from lab.ports import free_port
from testing.parts import ROOT
from testing.processes import Process
from testing.store import DATABASE

# As the processor writes: on disk at a majority.
DURABLE = "w=majority&journal=true"
# Those of Kafka's own connect-standalone.sh.
_CONNECT_HEAP = ("-Xms256M", "-Xmx2G", "-XX:+UseG1GC")
_SINK = "com.mongodb.kafka.connect.sink"

Start = Callable[[str, Topics, WatchedStore, Path], Process]


def processor(
    bootstrap: str,
    topics: Topics,
    store: WatchedStore,
    folder: Path,
    http_port: int | None = None,
    more: Mapping[str, str] | None = None,
) -> Process:
    """The processor, run as its container runs it; `more` are settings."""
    settings = _settings(bootstrap, topics, store, http_port, more)
    return Process("processor", [sys.executable, "-m", "gpu_token_processor"], folder, settings)


def unmarked(bootstrap: str, topics: Topics, store: WatchedStore, folder: Path) -> Process:
    """The processor as it was before it marked hours."""
    settings = _settings(bootstrap, topics, store)
    return Process("unmarked", [sys.executable, "-m", "bench.unmarked"], folder, settings)


def _settings(
    bootstrap: str,
    topics: Topics,
    store: WatchedStore,
    http_port: int | None = None,
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": bootstrap,
        "MONGO_URL": store.url,
        "MONGO_DATABASE": DATABASE,
        "TOPIC_METRIC": topics.metric,
        "TOPIC_TOKEN": topics.token,
        "API_ACCESS": "open",
        "API_REQUESTS_PER_SECOND": "1000",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(http_port or free_port()),
        **(more or {}),
    }


def connector(bootstrap: str, topics: Topics, store: WatchedStore, folder: Path) -> Process:
    """MongoDB's sink connector on Kafka Connect, standalone.

    Inserts, with duplicates passed over: it costs the connector less than its default, the upsert.
    """
    worker = {
        "bootstrap.servers": bootstrap,
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "consumer.auto.offset.reset": "earliest",
        "offset.storage.file.filename": str(folder / "connect.offsets"),
        "listeners": f"http://127.0.0.1:{free_port()}",
        # The one connector is on the class path.
        "plugin.discovery": "only_scan",
    }
    sink = {
        "name": "mongo-sink",
        "connector.class": "com.mongodb.kafka.connect.MongoSinkConnector",
        "tasks.max": "1",
        "topics": ",".join(topics),
        "connection.uri": f"{store.url}&{DURABLE}",
        "database": DATABASE,
        f"topic.override.{topics.metric}.collection": COLLECTION_GPU_METRICS,
        f"topic.override.{topics.token}.collection": COLLECTION_TOKEN_USAGE,
        "transforms": "id",
        "transforms.id.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
        "transforms.id.renames": "event_id:_id",
        "document.id.strategy": f"{_SINK}.processor.id.strategy.ProvidedInValueStrategy",
        "writemodel.strategy": f"{_SINK}.writemodel.strategy.InsertOneDefaultStrategy",
        "bulk.write.ordered": "false",
        "mongo.errors.tolerance": "all",
    }
    files = [_properties(folder / "worker.properties", worker), _properties(folder / "sink.properties", sink)]
    jars = os.pathsep.join(map(str, sorted(connector_libs().glob("*.jar"))))
    main_class = "org.apache.kafka.connect.cli.ConnectStandalone"
    logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return Process("connector", ["java", *_CONNECT_HEAP, logging, "-cp", jars, main_class, *files], folder)


def quix(bootstrap: str, topics: Topics, store: WatchedStore, folder: Path) -> Process:
    """Quix Streams' MongoDB sink, with its own defaults."""
    arguments = [bootstrap, *topics, f"{store.url}&{DURABLE}", DATABASE]
    return Process("quix", [quix_python(), ROOT / "bench" / "quix_sink.py", *arguments], folder)


def _properties(path: Path, settings: Mapping[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path
