"""The commands as users run them: exit status, one sentence, report, and what Kafka then holds."""

import gzip
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import zstandard
from gpu_token_contracts import decode_gpu_metric, decode_token_usage
from producers_kafka import MockKafka, mock_kafka

from testing.waiting import until

EXCERPT = Path(__file__).parent / "data" / "azure-llm-2023-code-excerpt.csv"

Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def command(kafka: MockKafka, topics: tuple[str, str], tmp_path: Path) -> Command:
    """Starts a command against the mock broker; `env` and `kafka` override."""

    def start(*arguments: str, broker: MockKafka = kafka, **env: str) -> "subprocess.Popen[str]":
        settings = {
            "KAFKA_BOOTSTRAP": broker.address,
            "TOPIC_METRIC": topics[0],
            "TOPIC_TOKEN": topics[1],
            "HEALTH_FILE": str(tmp_path / "health.json"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "gpu_token_producers", *arguments],
            env={**os.environ, **settings, **env},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def finish(process: "subprocess.Popen[str]", timeout: float = 30) -> tuple[int, str]:
    _, said = process.communicate(timeout=timeout)
    return process.returncode, said


def healthy(tmp_path: Path, **env: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "gpu_token_producers.health"],
        env={**os.environ, "HEALTH_FILE": str(tmp_path / "health.json"), **env},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_bytes())
    return report


def test_the_one_shot_form_sends_exactly_its_pairs(
    command: Command, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    status, said = finish(command("generate", BATCH="20", SLEEP_SEC="0.01"))
    assert status == 0, said
    metrics = [decode_gpu_metric(message.value()) for message in kafka.read(topics[0])]
    usages = [decode_token_usage(message.value()) for message in kafka.read(topics[1])]
    assert (len(metrics), len(usages)) == (20, 20)
    assert all(256 <= usage.prompt_tokens <= 2048 for usage in usages)


def test_two_runs_of_one_seed_are_different_events(
    command: Command, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    for _ in range(2):
        assert finish(command("generate", "--count", "5", "--pairs-per-second", "100"))[0] == 0
    usages = [decode_token_usage(message.value()) for message in kafka.read(topics[1])]
    assert len({usage.event_id for usage in usages}) == 10
    assert len({usage.prompt_tokens for usage in usages}) <= 5


def test_a_duration_ends_the_run_and_the_rate_is_kept(command: Command, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ["--duration-seconds", "2", "--pairs-per-second", "50", "--report", str(report)]
    assert finish(command("generate", *arguments))[0] == 0
    assert 90 <= read_report(report)["sent"] <= 101


def test_sigterm_under_load_delivers_what_was_accepted(
    command: Command, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    process = command("generate", "--pairs-per-second", "2000", "--report", str(report))
    until((tmp_path / "health.json").exists, "a health file")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    status, said = finish(process)
    assert status == 0, said
    counts = read_report(report)
    assert counts["sent"] == counts["delivered"] == len(kafka.read(topics[1])) > 100
    assert counts["gpu_metrics_delivered"] == len(kafka.read(topics[0]))
    assert counts["prompt_tokens"] == sum(
        decode_token_usage(message.value()).prompt_tokens for message in kafka.read(topics[1])
    )


def test_a_rate_of_zero_idles_in_good_health_until_stopped(command: Command, tmp_path: Path) -> None:
    process = command("generate", PAIRS_PER_SECOND="0")
    until(lambda: healthy(tmp_path), "healthy")
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 0


def test_a_rate_of_zero_and_a_count_contradict_each_other(command: Command) -> None:
    status, said = finish(command("generate", "--pairs-per-second", "0", "--count", "5"))
    assert status == 2
    assert "never reaches a count" in said


def test_health_follows_the_deliveries(command: Command, topics: tuple[str, str], tmp_path: Path) -> None:
    with mock_kafka() as broker:
        broker.create(*topics)
        process = command("generate", "--pairs-per-second", "20", broker=broker)
        assert not healthy(tmp_path)
        until(lambda: healthy(tmp_path), "healthy")
        broker.process.send_signal(signal.SIGSTOP)
        until(lambda: not healthy(tmp_path, HEALTH_STALL_SECONDS="3"), "unhealthy")
        broker.process.send_signal(signal.SIGCONT)
        until(lambda: healthy(tmp_path, HEALTH_STALL_SECONDS="3"), "healthy again")
        process.send_signal(signal.SIGTERM)
        assert finish(process)[0] == 0


def test_deliveries_that_never_come_are_an_exit_status(
    command: Command, topics: tuple[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    with mock_kafka() as broker:
        broker.create(*topics)
        arguments = ["--pairs-per-second", "50", "--report", str(report)]
        process = command("generate", *arguments, broker=broker, STOP_SECONDS="1")
        until((tmp_path / "health.json").exists, "a health file")
        broker.process.kill()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        status, said = finish(process)
    assert status == 1
    counts = read_report(report)
    assert counts["unflushed"] > 0
    assert f"{counts['unflushed']} had no delivery report at the end." in said


def test_kafka_that_is_not_there_is_one_sentence(command: Command, tmp_path: Path) -> None:
    status, said = finish(command("generate", KAFKA_BOOTSTRAP="127.0.0.1:1", KAFKA_WAIT_SECONDS="1"))
    assert status == 1
    assert said.count("\n") == 1
    assert "KAFKA_BOOTSTRAP" in said


def test_a_replay_sends_the_trace_to_the_last_token(
    command: Command, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    status, said = finish(command("replay", str(EXCERPT), "--speed", "0", "--report", str(report)))
    assert status == 0, said
    counts = read_report(report)
    assert counts["model"] == counts["run"] == "azure-llm-2023-code-excerpt"
    assert (counts["sent"], counts["delivered"], counts["failed"], counts["unflushed"]) == (200, 200, 0, 0)
    assert (counts["prompt_tokens"], counts["completion_tokens"]) == (414_215, 4_907)
    assert (counts["skipped"], counts["skipped_rows"]) == (0, [])
    assert counts["first_ts"] == "2023-11-16T18:17:03.979960Z"
    assert counts["last_ts"] == "2023-11-16T18:20:23.069545Z"
    assert counts["gpu_metrics_sent"] == counts["gpu_metrics_delivered"] == len(kafka.read(topics[0])) > 0
    usages = [decode_token_usage(message.value()) for message in kafka.read(topics[1])]
    assert len({usage.event_id for usage in usages}) == 200
    assert sum(usage.prompt_tokens for usage in usages) == 414_215
    assert sum(usage.completion_tokens for usage in usages) == 4_907
    assert {usage.model for usage in usages} == {"azure-llm-2023-code-excerpt"}


# Sent, skipped, prompt, cached and completion tokens, models, the first and the last time.
WRITTEN: dict[str, tuple[Any, ...]] = {
    "azure-llm-2024-written.csv": (
        (4, 0, 7013, 0, 28),
        {"trace"},
        ("2024-05-10T00:00:00.009930Z", "2024-05-10T00:00:01.000001Z"),
    ),
    "azure-lmm-2025-written.csv": (
        (3, 0, 5012, 0, 199),
        {"trace"},
        ("2024-10-15T12:00:00.100000Z", "2024-10-15T12:00:02Z"),
    ),
    "burstgpt-1-written.csv": (
        (3, 1, 1710, 0, 250),
        {"ChatGPT", "GPT-4"},
        ("2024-01-01T00:00:05Z", "2024-01-01T00:02:00Z"),
    ),
    "burstgpt-3-written.csv": (
        (4, 0, 1140, 0, 247),
        {"ChatGPT", "GPT-4"},
        ("2024-08-13T00:01:50Z", "2024-08-13T00:01:53Z"),
    ),
    "mooncake-written.jsonl": (
        (5, 0, 4900, 2636, 1103),
        {"trace"},
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:05.999000Z"),
    ),
    "copilot-2026-written.jsonl": (
        (3, 1, 46000, 24064, 200),
        {"Model A", "Model B"},
        ("2026-06-01T09:00:00.123456Z", "2026-06-01T09:00:10Z"),
    ),
}


@pytest.mark.parametrize("packer", [None, "gz", "zst"])
@pytest.mark.parametrize("name", WRITTEN)
def test_each_public_trace_is_replayed(
    command: Command,
    kafka: MockKafka,
    topics: tuple[str, str],
    name: str,
    packer: str | None,
    tmp_path: Path,
) -> None:
    (sent, skipped, prompt, cached, completion), models, times = WRITTEN[name]
    content = (EXCERPT.parent / name).read_bytes()
    pack = {None: bytes, "gz": gzip.compress, "zst": zstandard.compress}[packer]
    trace, report = tmp_path / ".".join(filter(None, ["trace.csv", packer])), tmp_path / "report.json"
    trace.write_bytes(pack(content))
    status, said = finish(command("replay", str(trace), "--speed", "0", "--report", str(report)))
    assert status == 0, said
    counts = read_report(report)
    assert (counts["run"], counts["model"]) == ("trace", None if len(models) > 1 else "trace")
    assert (counts["delivered"], counts["skipped"]) == (sent, skipped)
    assert (counts["prompt_tokens"], counts["completion_tokens"]) == (prompt, completion)
    assert (counts["first_ts"], counts["last_ts"]) == times
    usages = [decode_token_usage(message.value()) for message in kafka.read(topics[1])]
    assert len({usage.event_id for usage in usages}) == sent
    assert sum(usage.prompt_tokens for usage in usages) == prompt
    assert sum(usage.cached_prompt_tokens or 0 for usage in usages) == cached
    assert {usage.model for usage in usages} == models


def test_a_start_moves_a_trace_that_counts_from_0(command: Command, tmp_path: Path) -> None:
    trace, report = EXCERPT.with_name("burstgpt-1-written.csv"), tmp_path / "report.json"
    options = ["--speed", "0", "--report", str(report), "--start", "2026-03-01T00:00:00Z", "--model", "chat"]
    assert finish(command("replay", str(trace), *options))[0] == 0
    counts = read_report(report)
    assert (counts["model"], counts["first_ts"]) == ("chat", "2026-03-01T00:00:05Z")


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        (
            "burstgpt-1-written.csv",
            "noon",
            "--start is 'noon', not a date and time. Give one such as 2026-03-01T",
        ),
        ("burstgpt-1-written.csv", "2026-03-01T00:00:00+01:00", "which is not in UTC. Give one such as"),
        (
            "azure-llm-2024-written.csv",
            "2026-03-01T00:00:00Z",
            "azure-llm-2024-written.csv has times of its own",
        ),
    ],
)
def test_a_start_that_cannot_be_is_refused(command: Command, name: str, start: str, said: str) -> None:
    status, printed = finish(command("replay", str(EXCERPT.with_name(name)), "--start", start))
    assert status != 0
    assert said in printed
    assert "Traceback" not in printed


def test_a_packed_trace_that_breaks_off_sends_nothing(
    command: Command, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv.zst"
    trace.write_bytes(zstandard.compress(EXCERPT.read_bytes())[:-1])
    status, said = finish(command("replay", str(trace), "--speed", "0"))
    assert status == 1
    assert said == (
        f"Trace {trace} is damaged: the file ends within a zstd frame. Fetch or compress it again.\n"
    )
    assert kafka.read(topics[0]) == kafka.read(topics[1]) == []


def test_a_gpus_events_share_a_partition_in_event_time(
    command: Command, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    assert finish(command("replay", str(EXCERPT), "--speed", "0"))[0] == 0
    for topic, decode in ((topics[0], decode_gpu_metric), (topics[1], decode_token_usage)):
        places: dict[bytes | str | None, set[int | None]] = {}
        times: dict[bytes | str | None, list[object]] = {}
        for message in kafka.read(topic):
            places.setdefault(message.key(), set()).add(message.partition())
            times.setdefault(message.key(), []).append(decode(message.value()).ts)
        assert len(places) == 2
        assert all(len(partitions) == 1 for partitions in places.values())
        assert all(moments == sorted(moments) for moments in times.values())  # type: ignore[type-var]


def test_a_broken_row_is_named_and_the_others_are_sent(command: Command, tmp_path: Path) -> None:
    lines = EXCERPT.read_bytes().split(b"\r\n")
    lines[7] = b"2023-11-16 18:17:10.0000000,many,1"
    trace, report = tmp_path / "trace.csv", tmp_path / "report.json"
    trace.write_bytes(b"\r\n".join(lines))
    status, said = finish(command("replay", str(trace), "--speed", "0", "--report", str(report)))
    assert status == 0
    assert "Line 8 was skipped: ContextTokens is 'many'" in said
    assert "Warning: 1 rows of the file were skipped" in said
    counts = read_report(report)
    assert counts["delivered"] == 199
    assert [row["line"] for row in counts["skipped_rows"]] == [8]


def test_speed_scales_event_time(command: Command) -> None:
    begun = time.monotonic()
    # 199 seconds of event time.
    assert finish(command("replay", str(EXCERPT), "--speed", "100"))[0] == 0
    assert 1.9 < time.monotonic() - begun < 6


def test_a_row_of_another_year_is_refused_before_anything_is_sent(
    command: Command, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:{minute:02}:00,10,10" for minute in range(60)]
    lines[1] = "2098-11-16 18:01:00,10,10"
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    status, said = finish(command("replay", str(trace), "--speed", "60"))
    assert status == 1
    assert said == (
        "Between row 60 of the trace, of 2023-11-16T18:59:00Z, and row 2, of 2098-11-16T18:01:00Z, lie "
        "2366838120 seconds without a request, which --speed 60 makes a wait of 10957.6 hours (at most 1 is "
        "allowed): correct the row whose TIMESTAMP is wrong, or give a higher --speed (0 does not wait).\n"
    )
    assert kafka.read(topics[0]) == kafka.read(topics[1]) == []


def test_a_silence_that_needs_no_wait_is_named_and_reported(command: Command, tmp_path: Path) -> None:
    trace, report = tmp_path / "trace.csv", tmp_path / "report.json"
    rows = "2023-11-18 18:00:00,1,1\n2023-11-16 18:00:00,1,1\n"
    trace.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    status, said = finish(command("replay", str(trace), "--speed", "0", "--report", str(report)))
    assert status == 0
    assert (
        "Between row 2 of the trace, of 2023-11-16T18:00:00Z, and row 1, of 2023-11-18T18:00:00Z, lie 172800 "
        "seconds without a request: no GPU has readings for that time.\n"
    ) in said
    counts = read_report(report)
    assert (counts["delivered"], counts["gpu_metrics_delivered"], counts["silences"]) == (2, 8, 1)
    assert counts["silent_spans"] == [
        {
            "from_row": 2,
            "from_ts": "2023-11-16T18:00:00Z",
            "to_row": 1,
            "to_ts": "2023-11-18T18:00:00Z",
        }
    ]


def test_a_stopped_replay_reports_what_it_sent(command: Command, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = command("replay", str(EXCERPT), "--report", str(report))
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 0
    counts = read_report(report)
    assert 0 < counts["delivered"] == counts["sent"] < 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("a,b\n", "is no trace"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "has no row that can be sent"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nx,1,1\n", "has no row that can be sent"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    command: Command, content: str | None, said: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    if content is not None:
        trace.write_text(content)
    status, printed = finish(command("replay", str(trace), "--speed", "0"))
    assert status == 1
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trace.tar", "is a tar archive: unpack it"),
        ("trace.tgz", "is a tar archive: unpack it"),
        ("utf-16.csv", "its first line is UTF-16, which must be saved as UTF-8"),
        ("binary", "is no trace"),
    ],
)
def test_a_refused_file_prints_no_control_characters(
    command: Command, tmp_path: Path, name: str, said: str
) -> None:
    trace = tmp_path / name
    if ".t" in name:
        with tarfile.open(trace, "w:gz" if name.endswith("z") else "w") as archive:
            archive.add(EXCERPT, arcname="trace.csv")
    else:
        trace.write_bytes(EXCERPT.read_text().encode("utf-16") if "utf" in name else bytes(range(256)) * 9)
    status, printed = finish(command("replay", str(trace), "--speed", "0"))
    assert status == 1
    assert said in printed
    assert printed.rstrip("\n").isprintable()


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent(
    command: Command, kafka: MockKafka, topics: tuple[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "missing" / "report.json"
    status, said = finish(command("replay", str(EXCERPT), "--speed", "0", "--report", str(report)))
    assert status == 1
    assert f"Report {report} cannot be written" in said
    assert "Traceback" not in said
    assert kafka.read(topics[1]) == []


def test_a_run_that_fails_leaves_no_earlier_report_behind(command: Command, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert finish(command("replay", str(EXCERPT), "--speed", "0", "--report", str(report)))[0] == 0
    again = ["replay", str(EXCERPT), "--report", str(report), "--wait-seconds", "0"]
    assert finish(command(*again, KAFKA_BOOTSTRAP="127.0.0.1:1"))[0] == 1
    assert read_report(report)["sent"] == 0


def test_teams_are_in_the_events_of_both_commands(
    command: Command, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    """By option or by environment, as the role gives them."""
    replay = ["replay", str(EXCERPT), "--speed", "0", "--team", "search, support"]
    assert finish(command(*replay))[0] == 0
    generate = ["generate", "--count", "100", "--pairs-per-second", "1000"]
    assert finish(command(*generate, TEAMS="search,support"))[0] == 0
    usages = [decode_token_usage(message.value()) for message in kafka.read(topics[1])]
    assert Counter(usage.team for usage in usages) == {"search": 150, "support": 150}


@pytest.mark.parametrize("teams", ["search,,support", "search," + "x" * 257])
def test_a_team_that_is_no_name_is_refused(command: Command, teams: str) -> None:
    status, said = finish(command("generate", "--count", "1", TEAMS=teams))
    assert status == 2
    assert "--team has " in said
    assert "characters: give 1 to 256" in " ".join(said.split())


@pytest.mark.parametrize("name", ["MODEL", "PRODUCER_HOST"])
def test_a_text_that_the_contract_would_refuse_is_refused_first(command: Command, name: str) -> None:
    status, said = finish(command("generate", "--count", "1", **{name: "x" * 257}))
    assert status == 2
    assert "257 characters" in said


def test_the_same_topic_for_both_is_refused(command: Command) -> None:
    status, said = finish(command("generate", "--count", "1", TOPIC_METRIC="same", TOPIC_TOKEN="same"))
    assert status == 1
    assert "TOPIC_METRIC and TOPIC_TOKEN are both 'same'" in said


def test_a_synthetic_trace_is_replayed_with_the_totals_it_states(command: Command, tmp_path: Path) -> None:
    trace, report = tmp_path / "made.csv", tmp_path / "report.json"
    making = command("trace", str(trace), "--rows", "500", "--seed", "7")
    totals = json.loads(making.communicate(timeout=30)[0])
    assert finish(command("replay", str(trace), "--speed", "0", "--report", str(report)))[0] == 0
    counts = read_report(report)
    assert totals == {
        "rows": counts["delivered"],
        "prompt_tokens": counts["prompt_tokens"],
        "completion_tokens": counts["completion_tokens"],
    }


def test_a_log_of_nvidia_smi_is_sent_with_its_zone(
    command: Command, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    log = EXCERPT.parent / "gpus" / "smi-log.csv"
    sent = command("replay-readings", str(log), "--zone", "Europe/Berlin", "--host", "gpu-a")
    said = sent.communicate(timeout=60)[1]
    assert sent.returncode == 0, said
    readings = [decode_gpu_metric(message.value()) for message in kafka.read(topics[0])]
    assert readings
    assert {reading.host for reading in readings} == {"gpu-a"}
    first = log.read_text().splitlines()[1]
    assert first.startswith(
        readings[0].ts.astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y/%m/%d %H:%M:%S")
    )


def test_a_log_needs_a_zone_that_there_is(command: Command) -> None:
    log = EXCERPT.parent / "gpus" / "smi-log.csv"
    refused = command("replay-readings", str(log), "--zone", "Mars", "--host", "gpu-a")
    assert "--zone is 'Mars'" in refused.communicate(timeout=60)[1]
    assert refused.returncode == 1
