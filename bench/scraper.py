"""`python -m bench.scraper ours|parser …`: looks at a target many times, and prints the CPU seconds it took.

`ours` is the collector's reader of an engine, with its journal on disk and its events in Kafka. `parser`
is what any reader in Python needs at least: the same answers, parsed by prometheus_client, and no more.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import httpx
from gpu_token_producers.delivery import KafkaDelivery
from gpu_token_producers.sender import Sender
from gpu_token_producers.sources.journal import Journal
from gpu_token_producers.sources.scraping import EngineReader
from gpu_token_producers.sources.settings import EngineSource
from gpu_token_producers.sources.status import Metrics, Status
from gpu_token_producers.stop import StopRequest
from prometheus_client.parser import text_string_to_metric_families


def ours(url: str, looks: int, bootstrap: str, topic: str, folder: Path) -> None:
    """As collect does it, without the pauses."""
    stop = StopRequest()
    sender = Sender(bootstrap, stop)
    sender.wait_for_topics([topic], 30)
    poller = threading.Thread(target=sender.pause, args=(3600,), daemon=True)
    poller.start()
    source = EngineSource.model_validate({"name": "bench", "type": "vllm", "target": url})
    journal = Journal(folder, source.address, KafkaDelivery(sender, topic, topic))
    reader = EngineReader(source, Status("bench", "vllm", Metrics()), journal)
    for _ in range(looks):
        reader.look()
    stop.requested = True
    poller.join()
    if sender.drain(30, 30):
        raise SystemExit("Kafka did not take all events")


def parser(url: str, looks: int) -> None:
    """Fetch and parse."""
    with httpx.Client() as client:
        for _ in range(looks):
            for family in text_string_to_metric_families(client.get(url).text):
                len(family.samples)


def main() -> None:
    """Print the CPU seconds of this process, all threads included, without the time to start."""
    what, url, looks, *more = sys.argv[1:]
    begun = time.process_time()
    if what == "ours":
        bootstrap, topic, folder = more
        ours(url, int(looks), bootstrap, topic, Path(folder))
    else:
        parser(url, int(looks))
    print(time.process_time() - begun)


if __name__ == "__main__":
    main()
