"""The main job on real machines. The tests run in the order they stand in: each builds on the one before."""

from __future__ import annotations

import csv
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import lab_command
from .environment import FLEET
from .runner import KAFKA_LOGIN_FILE, KAFKA_SERVER, ROOT, kafka_tool, play

USAGE = FLEET.topics.token_usage.name
OnMachine = Callable[..., str]
ContainerIds = Callable[[], dict[str, str]]


def test_dry_run_on_fresh_machines_passes() -> None:
    play("site.yml", check=True).must_pass()


def test_bad_input_stops_before_anything_is_touched(on_machine: OnMachine) -> None:
    run = play("site.yml", kafka_heap_share=0.9)
    assert run.rc != 0
    assert "kafka_heap_share" in run.stdout
    assert on_machine("kafka-1", "sh", "-c", "command -v docker >/dev/null && echo yes || echo no") == "no"


@pytest.mark.usefixtures("converged")
def test_site_converges_and_a_second_run_changes_nothing(container_ids: ContainerIds) -> None:
    before = container_ids()
    play("site.yml").must_change_nothing()
    assert container_ids() == before


def test_replay_is_stored_exactly(trace: Path) -> None:
    with trace.open(newline="") as rows:
        requests = list(csv.DictReader(rows))
    totals = {
        "verify_expected_events": len(requests),
        "verify_expected_prompt_tokens": sum(int(row["ContextTokens"]) for row in requests),
        "verify_expected_completion_tokens": sum(int(row["GeneratedTokens"]) for row in requests),
    }
    if trace.name == "azure-llm-2023-code.csv":
        assert list(totals.values()) == [8_819, 18_059_974, 245_896]
    for _ in range(2):  # the same trace sent twice counts once
        play("playbooks/replay.yml", replay_trace=str(trace)).must_pass()
    play("playbooks/verify.yml", **totals).must_pass()
    report = json.loads((ROOT / "build" / "verify.json").read_text())
    assert report["passed"]
    assert report["totals"] == {
        "sent": totals["verify_expected_events"],
        "stored": totals["verify_expected_events"],
        "dead_lettered": 0,
        "duplicates": 0,
        "context_tokens": totals["verify_expected_prompt_tokens"],
        "generated_tokens": totals["verify_expected_completion_tokens"],
    }
    rows = report["costs"]["rows"]
    assert [row["team"] for row in rows] == ["research", "search", "support"]
    assert sum(row["tokens"] for row in rows) == sum([*totals.values()][1:])
    assert "research" in (ROOT / "build" / "costs.txt").read_text()


def test_malformed_event_is_dead_lettered_with_its_reason(on_machine: OnMachine) -> None:
    before = dead_letters(on_machine)
    send = ["/opt/kafka/bin/kafka-console-producer.sh", *KAFKA_SERVER, "--producer.config", KAFKA_LOGIN_FILE]
    send += ["--topic", USAGE]
    on_machine("kafka-1", "docker", "exec", "kafka", "sh", "-c", "echo '{\"ts\": ' | " + " ".join(send))
    deadline = time.monotonic() + 30
    while (now := dead_letters(on_machine)) == before:
        assert time.monotonic() < deadline, "the malformed event did not reach the dead-letter topic in 30 s"
        time.sleep(0.5)
    assert now == before + 1
    letter = on_machine(
        "kafka-1",
        "docker",
        "exec",
        "kafka",
        "/opt/kafka/bin/kafka-console-consumer.sh",
        *[*KAFKA_SERVER, "--consumer.config", KAFKA_LOGIN_FILE, "--topic", f"{USAGE}.dlq"],
        "--from-beginning",
        *f"--max-messages {now} --timeout-ms 20000".split(),
        *["--property", "print.headers=true"],
    )
    assert "invalid_json" in letter
    assert f"dlq.source_topic:{USAGE}" in letter


def dead_letters(on_machine: OnMachine) -> int:
    """Records in the dead-letter topic of token usage."""
    lines = on_machine("kafka-1", *kafka_tool("get-offsets", "--topic", f"{USAGE}.dlq"))
    return sum(int(line.rsplit(":", 1)[1]) for line in lines.splitlines() if line.startswith(f"{USAGE}.dlq:"))


def test_a_removed_container_comes_back_with_its_data(on_machine: OnMachine) -> None:
    before = dead_letters(on_machine)
    assert before > 0
    on_machine("kafka-1", "docker", "rm", "--force", "kafka")
    play("site.yml", tags="kafka").must_pass()
    assert dead_letters(on_machine) == before


def test_hand_edited_settings_are_put_back(on_machine: OnMachine) -> None:
    on_machine("processor-1", "sh", "-c", "echo WINDOW_SECONDS=7 >> /opt/gpu-token/processor/.env")
    run = play("site.yml", limit="processor-1", tags="processor").must_pass()
    assert "processor-1" in run.changed
    assert "WINDOW_SECONDS=7" not in on_machine("processor-1", "cat", "/opt/gpu-token/processor/.env")


def test_services_survive_a_reboot_without_a_rerun() -> None:
    lab_command("reboot", "processor-1")
    play("playbooks/health.yml", limit="processor-1").must_pass()
    play("site.yml", limit="processor-1").must_change_nothing()


def test_a_stopped_machine_is_named_by_site_verify_and_health() -> None:
    lab_command("stop", "producers-1")
    try:
        runs = [play(f"{playbook}.yml") for playbook in ("site", "playbooks/verify", "playbooks/health")]
        checks = json.loads((ROOT / "build" / "verify.json").read_text())["checks"]
    finally:
        lab_command("start", "producers-1")
    for run in runs:
        assert run.rc != 0
        said = " ".join(run.stdout.split())
        assert "fleet.yml counts producers-1, and no machine of that name is running" in said
    assert [check["host"] for check in checks if not check["passed"]] == ["producers-1"]


@pytest.mark.parametrize("path", ["/gpu/info", "/usage", "/cost", "/throughput"])
def test_operator_reads_the_api(path: str, api: str, token: str) -> None:
    request = urllib.request.Request(f"{api}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
        assert answer.read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{api}{path}", timeout=10)


@pytest.mark.parametrize("path", ["/health", "/metrics", "/"])
def test_operator_needs_no_token_for_health_metrics_and_the_page(path: str, api: str) -> None:
    with urllib.request.urlopen(f"{api}{path}", timeout=10) as answer:
        assert answer.status == 200
        assert answer.read()
