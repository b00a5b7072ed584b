"""The producers on their machine, seen from outside the role."""

from __future__ import annotations

import json

from testinfra.host import Host


def test_the_generator_is_healthy(host: Host) -> None:
    with host.sudo():
        state = json.loads(host.check_output("docker inspect producers"))[0]["State"]
    assert state["Health"]["Status"] == "healthy"


def test_a_one_shot_sends_what_it_was_asked_and_reports_it(host: Host) -> None:
    with host.sudo():
        host.check_output(
            "docker compose --project-directory /opt/gpu-token/producers run --rm producers"
            " generate --count 20 --pairs-per-second 200 --model one-shot --report /reports/one-shot.json"
        )
        report = json.loads(host.file("/var/lib/gpu-token/producers/reports/one-shot.json").content_string)
    assert (report["sent"], report["delivered"], report["failed"]) == (20, 20, 0)


def test_an_unreachable_broker_is_one_sentence_and_a_failure(host: Host) -> None:
    with host.sudo():
        run = host.run(
            "docker compose --project-directory /opt/gpu-token/producers run --rm"
            " -e KAFKA_BOOTSTRAP=127.0.0.1:1 -e KAFKA_WAIT_SECONDS=3 producers generate --count 1"
        )
    assert run.rc != 0
    assert "KAFKA_BOOTSTRAP" in run.stderr + run.stdout


def test_secrets_are_files_of_the_container_alone(host: Host) -> None:
    with host.sudo():
        inspected = host.check_output("docker inspect producers")
        file = host.file("/opt/gpu-token/producers/secrets/kafka-password")
        assert (file.uid, file.mode) == (10001, 0o400)
        assert file.content_string not in inspected
