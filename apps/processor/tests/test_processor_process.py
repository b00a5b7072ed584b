"""The process as the container runs it, with neither Kafka nor MongoDB."""

import json
import signal
import time
from collections.abc import Iterator

import pytest
from processor_process import Process, run

from lab.ports import free_port

NOBODY = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "MONGO_URL": "mongodb://127.0.0.1:1"}


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with Process(**NOBODY) as made:
        yield made


def test_health_tells_what_is_missing(process: Process) -> None:
    time.sleep(5)
    status, body = process.get("/health")
    health = json.loads(body)
    assert status == 503
    assert health["kafka"].startswith("kafka: ")
    assert health["mongodb"].startswith("mongodb: ServerSelectionTimeoutError: 127.0.0.1:1")
    assert process.status("/health/live") == 200


def test_the_health_check_says_why(process: Process) -> None:
    check = run("gpu_token_processor.health", HTTP_PORT=process.url.rsplit(":", 1)[1])
    output, _ = check.communicate(timeout=20)
    assert check.returncode == 1
    assert "mongodb: " in output


def test_the_health_check_without_a_processor() -> None:
    check = run("gpu_token_processor.health", HTTP_PORT=str(free_port()))
    output, _ = check.communicate(timeout=20)
    assert check.returncode == 1
    assert "does not answer" in output


def test_questions_are_answered_as_problems(process: Process) -> None:
    status, body = process.get("/gpu/info")
    assert (status, json.loads(body)["title"]) == (503, "The store does not answer")


def test_it_stops_in_order_and_in_time(process: Process) -> None:
    started = time.monotonic()
    process.popen.send_signal(signal.SIGTERM)
    output, _ = process.popen.communicate(timeout=20)
    assert time.monotonic() - started < 20
    assert process.popen.returncode == 0
    assert "stopped in order" in output


def test_a_broker_that_is_away_does_not_fill_the_log() -> None:
    process = run("gpu_token_processor", HTTP_PORT=str(free_port()), **NOBODY)
    time.sleep(6)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert output.count("Connection refused") < 10


def test_a_bad_setting_ends_it_before_it_starts() -> None:
    process = run("gpu_token_processor", **NOBODY | {"WINDOW_SECONDS": "soon"})
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert output == "WINDOW_SECONDS is 'soon': give seconds of event time, more than 0, at most 86400.\n"


def test_a_bad_address_does_not_show_its_password() -> None:
    process = run("gpu_token_processor", **NOBODY | {"MONGO_URL": "mongodb://app:s3/cret@mongo-1"})
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "s3" not in output
    assert output.startswith("MONGO_URL is not usable")


@pytest.mark.parametrize("service", ["KAFKA", "MONGO"])
def test_half_a_login_ends_it_before_it_starts(service: str) -> None:
    process = run("gpu_token_processor", **NOBODY | {f"{service}_USERNAME": "processor"})
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert output.startswith(f"{service}_USERNAME is 'processor', but {service}_PASSWORD_FILE and ")
