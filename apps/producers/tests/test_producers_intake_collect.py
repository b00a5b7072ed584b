"""The intake inside `collect`, as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from gpu_token_producers.sources.settings import load_sources
from producers_intake import TOKEN
from producers_kafka import MockKafka

from testing.waiting import until

_REQUEST = {"id": "r1", "model": "chat", "created": 1_772_445_600, "usage": {"prompt_tokens": 5}}


@contextmanager
def _collect(
    kafka: MockKafka, topics: tuple[str, str], folder: Path, kinds: tuple[str, ...] = ("openai_usage", "otlp")
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, Path]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "token").write_text(f"{TOKEN}\n")
    sources = folder / "sources.yml"
    content = {
        "intake": {"port": port, "address": "127.0.0.1", "token_file": str(folder / "token")},
        "sources": [{"name": kind, "type": kind} for kind in kinds],
    }
    sources.write_text(yaml.safe_dump(content))
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP": kafka.address,
        "TOPIC_METRIC": topics[0],
        "TOPIC_TOKEN": topics[1],
        "COLLECT_STATE_DIR": str(folder / "state"),
        "HEALTH_FILE": str(folder / "health"),
    }
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "gpu_token_producers", "collect", str(sources)],
            env=environment,
            stdout=out,
            stderr=out,
        ) as process,
    ):
        try:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, headers=headers) as client:
                until(lambda: _answers(client, process, log), "the intake answers", 30)
                yield process, client, log
        finally:
            process.kill()


def _answers(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_it_is_there_and_only_what_is_configured(
    kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    with _collect(kafka, topics, tmp_path) as (process, client, _):
        assert client.post("/v1/usage", json=_REQUEST).json()["accepted"] == 1
        assert client.post("/v1/metrics", json={}).status_code == 200
        assert client.post("/v1/litellm", json=[]).status_code == 404
        assert "gpu_token_intake_events_total" in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert len(kafka.read(topics[1])) == 1


@pytest.mark.parametrize("stands_still_seconds", [0.0, 1.5])
def test_a_stop_answers_what_has_begun(
    kafka: MockKafka, topics: tuple[str, str], tmp_path: Path, stands_still_seconds: float
) -> None:
    with _collect(kafka, topics, tmp_path) as (process, client, log):
        client.post("/v1/usage", json={**_REQUEST, "id": "first"})
        statuses: list[int] = []
        kafka.process.send_signal(signal.SIGSTOP)
        try:
            asking = threading.Thread(
                target=lambda: statuses.append(client.post("/v1/usage", json=_REQUEST).status_code)
            )
            asking.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(stands_still_seconds)
        finally:
            kafka.process.send_signal(signal.SIGCONT)
        asking.join()
        assert statuses == [200], log.read_text()
        assert process.wait(20) == 0
    assert len(kafka.read(topics[1])) == 2


def test_two_sources_of_one_type_are_told_apart_by_their_names(tmp_path: Path) -> None:
    sources = tmp_path / "sources.yml"
    received = [{"name": name, "type": "litellm"} for name in ("a", "b")]
    sources.write_text(yaml.safe_dump({"intake": {"token_file": "x"}, "sources": received}))
    assert [source.name for source in load_sources(sources).received] == ["a", "b"]


@pytest.mark.parametrize(
    "content", ["short\n", "two words of a long token\n", "a-first-line-of-a-token\nand-another-line\n"]
)
def test_a_token_of_no_use_is_refused_and_not_shown(
    kafka: MockKafka, topics: tuple[str, str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "token").write_text(content)
    sources = tmp_path / "sources.yml"
    intake = {"token_file": str(tmp_path / "token")}
    sources.write_text(yaml.safe_dump({"intake": intake, "sources": [{"name": "a", "type": "litellm"}]}))
    environment = {
        **os.environ,
        "COLLECT_STATE_DIR": str(tmp_path / "state"),
        "KAFKA_BOOTSTRAP": kafka.address,
        "TOPIC_METRIC": topics[0],
        "TOPIC_TOKEN": topics[1],
        "HEALTH_FILE": str(tmp_path / "health"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "gpu_token_producers", "collect", str(sources)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"intake.token_file is '{tmp_path / 'token'}', which holds no usable token: "
        "give it one line of 20 to 512 letters and digits.\n"
    )
