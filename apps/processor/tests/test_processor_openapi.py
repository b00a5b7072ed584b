"""The API against its own OpenAPI document: whatever is asked, the answer is one that the document names."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gpu_token_processor.ledger.catalog_file import load_catalog
from gpu_token_processor.ledger.catalog_store import apply
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN, metric, usage
from processor_kafka import MockKafka
from processor_process import Process
from pymongo import MongoClient

from testing.waiting import until

WAIT_SECONDS = 60
TOKEN = "0123456789abcdefghijABCDEFGHIJ"
CATALOG = Path(__file__).resolve().parents[3] / "docs" / "examples" / "catalog.yml"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

EVENTS = {
    TOPIC_METRIC: [
        metric(ts=f"2026-01-01T12:00:{second:02}Z", host=host, uuid=f"GPU-{host}", rack={"row": 7})
        for second in range(0, 60, 5)
        for host in ("gpu-a", "gpu-b")
    ],
    TOPIC_TOKEN: [
        usage(ts=f"2026-01-01T12:00:{second:02}Z", model=f"model-{second % 3}") for second in range(60)
    ]
    + [b"poison"],
}


@pytest.fixture(params=["empty", "filled"])
def api(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str, tmp_path: Path) -> Iterator[str]:
    """Where a processor answers, before the first event and after some."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    with MockKafka() as kafka:
        kafka.make_topics(*EVENTS)
        with Process(
            TOKEN,
            KAFKA_BOOTSTRAP=kafka.bootstrap,
            MONGO_URL=mongo_url,
            MONGO_DATABASE=mongo_database,
            API_ACCESS="token",
            API_TOKEN_FILE=str(token_file),
            API_REQUESTS_PER_SECOND="1000",
            API_STRANGER_REQUESTS_PER_SECOND="1000",
        ) as processor:
            if request.param == "filled":
                for topic, events in EVENTS.items():
                    kafka.send(topic, *events)
                with MongoClient[dict[str, Any]](mongo_url) as client:
                    apply(client[mongo_database], load_catalog(CATALOG), datetime.now(UTC))
                wait_until_stored(processor)
            yield processor.url


def wait_until_stored(processor: Process) -> None:
    until(
        lambda: (
            len(processor.answer("/gpu/info")["items"]) == 2
            and processor.answer("/usage")["totals"]["events"] == 60
            and processor.answer("/dead-letters")["total"] == 1
            and processor.answer("/deployments")["items"]
        ),
        "all is stored",
    )


# 431, for a request that is too long, is a refusal like the others.
CONFIGURATION = '[checks]\nnegative_data_rejection.expected-statuses = ["4xx"]\n'


def test_schemathesis_finds_nothing(api: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    options = ["--seed=1", "--max-examples=20", "--workers=2", "--checks=all", "--no-color"]
    options.append(f"--header=Authorization: Bearer {TOKEN}")
    # It has no end.
    options.append("--exclude-path=/events")
    run = subprocess.run(
        [SCHEMATHESIS, "run", f"{api}/openapi.json", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
