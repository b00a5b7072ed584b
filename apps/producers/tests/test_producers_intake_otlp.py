"""`otlp`: counts of real OpenTelemetry SDKs, both temporalities, resets, restarts, and what goes wrong."""

import asyncio
import gzip
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from gpu_token_contracts import TokenUsage
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.intake.limits import Limits
from gpu_token_producers.intake.otlp import Otlp, parse_metrics
from gpu_token_producers.intake.otlp_points import Found
from gpu_token_producers.intake.refusal import Refusal
from gpu_token_producers.intake.source import IntakeSource
from gpu_token_producers.intake.state import FileState
from gpu_token_producers.intake.taken import Taken
from gpu_token_producers.sources.labels import Labels
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality as SdkTemporality
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from producers_intake import TOKEN, Running, running, source
from producers_kafka import MockKafka

_SECOND = 10**9
# A state that is born now has seen nothing of what began before.
_NOW = 1_772_445_600 * _SECOND
_OLD = "gen_ai.client.token.usage"
_NEW = "gen_ai.client.inference.usage."


class _Sent:
    """Stands where Kafka is: keeps what was delivered, refuses while told to."""

    def __init__(self) -> None:
        self.events: list[TokenUsage] = []
        self.down = False

    async def __call__(self, events: Sequence[TokenUsage]) -> None:
        if self.down:
            raise Refusal(503, "not_acknowledged", "Kafka is down.")
        self.events += events

    def totals(self) -> tuple[int, int, int]:
        """Prompt, completion and requests, each event once."""
        once = {event.event_id: event for event in self.events}.values()
        return (
            sum(event.prompt_tokens for event in once),
            sum(event.completion_tokens for event in once),
            sum(event.requests or 0 for event in once),
        )


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_token_producers.intake.otlp.time.time_ns", lambda: _NOW)


def _otlp(path: Path, **labels: Any) -> Otlp:
    return Otlp(IntakeSource("it", "otlp", Labels(**labels), FileState(path)), 1)


def _take(otlp: Otlp, found: Found, sent: _Sent) -> Taken:
    return asyncio.run(otlp.take(found, sent))


def _found(
    *points: tuple[str, int, int, int, int],
    cumulative: bool = True,
    name: str = _OLD,
    resource: dict[str, str] | None = None,
    **attributes: str,
) -> Found:
    """Points of (token type, start s, time s, tokens, requests); seconds from now."""
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    for key, value in (resource or {"service.name": "app"}).items():
        of_resource.resource.attributes.add(key=key).value.string_value = value
    metric = of_resource.scope_metrics.add().metrics.add(name=name)
    metric.histogram.aggregation_temporality = (
        AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        if cumulative
        else AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    )
    for of, start, time, tokens, requests in points:
        point = metric.histogram.data_points.add(
            start_time_unix_nano=_NOW + start * _SECOND if start is not None else 0,
            time_unix_nano=_NOW + time * _SECOND,
            sum=tokens,
            count=requests,
        )
        for key, value in {
            "gen_ai.request.model": "chat",
            "gen_ai.token.type": of,
            "server.address": "10.0.0.5",
            **{name.replace("__", "."): value for name, value in attributes.items()},
        }.items():
            point.attributes.add(key=key).value.string_value = value
        point.attributes.add(key="server.port").value.int_value = 8000
    return parse_metrics(request.SerializeToString(), is_json=False)


def test_input_and_output_are_one_event(tmp_path: Path) -> None:
    sent = _Sent()
    found = _found(
        ("input", 1, 61, 500, 5),
        ("output", 1, 61, 90, 4),
        gen_ai__provider__name="vllm",
        gen_ai__operation__name="chat",
    )
    taken = _take(_otlp(tmp_path / "state"), found, sent)
    (event,) = sent.events
    assert taken.events == sent.events
    assert (event.prompt_tokens, event.completion_tokens, event.requests) == (500, 90, 5)
    assert (event.model, event.endpoint, event.workload) == ("chat", "10.0.0.5:8000", "app")
    assert event.tags == {"operation": "chat", "provider": "vllm"}
    assert (event.interval_seconds, event.ts.timestamp(), event.measured_by) == (
        60,
        _NOW / _SECOND + 61,
        "gateway",
    )


def test_cumulative_counts_go_on(tmp_path: Path) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    _take(otlp, _found(("input", 1, 60, 500, 5)), sent)
    _take(otlp, _found(("input", 1, 120, 800, 9)), sent)
    # Nothing new, the same again, and one that was overtaken.
    for point in (("input", 1, 180, 800, 9), ("input", 1, 120, 800, 9), ("input", 1, 60, 500, 5)):
        _take(otlp, _found(point), sent)
    assert [(event.prompt_tokens, event.requests, event.interval_seconds) for event in sent.events] == [
        (500, 5, 59),
        (300, 4, 60),
    ]
    assert all(event.counter_resets is None for event in sent.events)


def test_what_began_before_us_is_only_noted(tmp_path: Path) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    assert _take(otlp, _found(("input", -1, 60, 500, 5)), sent).ignored == {"baseline": 1}
    _take(otlp, _found(("input", -1, 120, 800, 9)), sent)
    assert sent.totals() == (300, 0, 4)


def test_a_new_start_counts_from_zero(tmp_path: Path) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    for point in (("input", -1, 60, 500, 5), ("input", 70, 120, 30, 1), ("input", 70, 180, 40, 2)):
        _take(otlp, _found(point), sent)
    # A last word of the process before comes late.
    _take(otlp, _found(("input", -1, 65, 600, 6)), sent)
    assert sent.totals() == (140, 0, 3)
    assert [event.counter_resets for event in sent.events] == [1, None, None]


def test_a_fall_without_a_new_start_is_a_reset(tmp_path: Path) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    unknown: Any = None
    for point in (
        ("input", unknown, 60, 500, 5),
        ("input", unknown, 120, 30, 1),
        ("input", unknown, 180, 40, 2),
    ):
        _take(otlp, _found(point), sent)
    assert sent.totals() == (40, 0, 2)
    assert [event.counter_resets for event in sent.events] == [1, None]


def test_two_processes_of_one_name(tmp_path: Path) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    for time in (60, 120, 180):
        _take(otlp, _found(("input", 1, time, time, 1), ("input", 2, time, 2 * time, 1)), sent)
    assert sent.totals()[0] == 180 + 360


def test_our_restart_loses_and_doubles_nothing(tmp_path: Path) -> None:
    sent = _Sent()
    _take(_otlp(tmp_path / "state"), _found(("input", 1, 60, 500, 5)), sent)
    _take(_otlp(tmp_path / "state"), _found(("input", 1, 60, 500, 5)), sent)
    _take(_otlp(tmp_path / "state"), _found(("input", 1, 300, 900, 9)), sent)
    assert sent.totals() == (900, 0, 9)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_what_kafka_did_not_acknowledge_is_sent_before_anything_else(
    tmp_path: Path, restarted: bool, repeated: bool
) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    sent.down = True
    for _ in range(3):
        with pytest.raises(Refusal):
            _take(otlp, _found(("input", 1, 60, 500, 5)), sent)
    sent.down = False
    if restarted:
        otlp = _otlp(tmp_path / "state")
    _take(otlp, _found(("input", 1, 60, 500, 5) if repeated else ("input", 1, 120, 700, 7)), sent)
    _take(otlp, _found(("input", 1, 180, 900, 9)), sent)
    assert sent.totals() == (900, 0, 9)


def test_a_crash_after_kafka_had_it(tmp_path: Path) -> None:
    """The saved state still names the events, so they go out again under the same ids."""
    sent = _Sent()
    _take(_otlp(tmp_path / "state"), _found(("input", 1, 60, 500, 5)), sent)
    _take(_otlp(tmp_path / "state"), _found(("input", 1, 120, 700, 7)), sent)
    assert len(sent.events) > 2
    assert sent.totals() == (700, 0, 7)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    with monkeypatch.context() as full:
        full.setattr(FileState, "save", _no_space)
        with pytest.raises(Refusal) as refused:
            _take(otlp, _found(("input", 1, 60, 500, 5)), sent)
    assert refused.value.status == 503
    assert not sent.events
    _take(otlp, _found(("input", 1, 60, 500, 5)), sent)
    assert sent.totals() == (500, 0, 5)


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_delta_needs_no_memory(tmp_path: Path) -> None:
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    for _ in range(2):
        _take(otlp, _found(("input", 0, 60, 500, 5), ("output", 0, 60, 90, 5), cumulative=False), sent)
    _take(otlp, _found(("input", 60, 120, 500, 5), cumulative=False), sent)
    assert sent.totals() == (1000, 90, 10)


def test_the_newer_counters(tmp_path: Path) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    values = {
        "input_tokens": 500,
        "output_tokens": 90,
        "cache_read.input_tokens": 300,
        "cache_write.input_tokens": 10,
        "reasoning.output_tokens": 40,
    }
    for name, value in values.items():
        total = metrics.add(name=_NEW + name).sum
        total.is_monotonic = True
        total.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        point = total.data_points.add(start_time_unix_nano=_NOW, time_unix_nano=_NOW + _SECOND, as_int=value)
        point.attributes.add(key="gen_ai.request.model").value.string_value = "chat"
    # The same tokens, as the older histogram has them.
    metrics.add(name=_OLD)
    sent = _Sent()
    taken = _take(_otlp(tmp_path / "state"), parse_metrics(request.SerializeToString(), is_json=False), sent)
    (event,) = sent.events
    assert (event.prompt_tokens, event.cached_prompt_tokens) == (500, 300)
    assert (event.completion_tokens, event.reasoning_tokens, event.requests) == (90, 40, 0)
    assert taken.ignored == {"other_metric": 1, "counted_twice": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 1e30, 1.5])
def test_no_count(tmp_path: Path, value: Any) -> None:
    sent = _Sent()
    taken = _take(
        _otlp(tmp_path / "state"), _found(("input", 1, 60, value, 5), ("output", 1, 60, 90, 5)), sent
    )
    assert len(taken.refused) == 1
    assert sent.totals() == (0, 90, 5)


def test_a_counter_ahead_of_the_clock_counts_with_its_next_value(tmp_path: Path) -> None:
    sent = _Sent()
    otlp = _otlp(tmp_path / "state")
    _take(otlp, _found(("input", 1, 60, 500, 5)), sent)
    taken = _take(otlp, _found(("input", 1, 700, 600, 6)), sent)
    assert "more than 600 seconds ahead" in taken.refused[0][1]
    _take(otlp, _found(("input", 1, 120, 650, 7)), sent)
    assert sent.totals() == (650, 0, 7)


def test_no_model_and_labels(tmp_path: Path) -> None:
    sent = _Sent()
    found = _found(
        ("input", 1, 60, 500, 5),
        gen_ai__request__model="",
        resource={"service.name": "app", "host.name": "h"},
    )
    assert len(_take(_otlp(tmp_path / "a"), found, sent).refused) == 1
    found = _found(("input", 1, 60, 500, 5), gen_ai__request__model="", resource={"host.name": "h"})
    _take(_otlp(tmp_path / "b", model="chat", workload="w", deployment="d"), found, sent)
    (event,) = sent.events
    assert (event.model, event.workload, event.deployment, event.host) == ("chat", "w", "d", "h")


def test_forgotten_series_are_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_token_producers.intake.otlp_counters._MAX_SERIES", 3)
    monkeypatch.setattr("gpu_token_producers.intake.otlp_counters._MAX_STARTS", 2)
    otlp, sent = _otlp(tmp_path / "state"), _Sent()
    for number in range(6):
        _take(otlp, _found(("input", 1, 60 + number, 100, 1), gen_ai__request__model=f"m{number}"), sent)
    assert sent.totals()[0] <= 600
    for number in range(6):
        _take(otlp, _found(("input", 1, 90 + number, 100, 1), gen_ai__request__model=f"m{number}"), sent)
    assert sent.totals()[0] <= 600
    for start in range(100, 106):
        _take(otlp, _found(("input", start, 200 + start, 10, 1)), sent)
    before = sent.totals()
    for start in range(100, 106):
        _take(otlp, _found(("input", start, 400 + start, 10, 1)), sent)
    assert sent.totals() == before


def test_a_broken_state_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("{")
    with pytest.raises(ProducerError, match="remove it"):
        _otlp(path)
    with pytest.raises(ProducerError, match="cannot be written"):
        _otlp(tmp_path / "none" / "state")


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("body", [b"\xff\xff", b"{", b'{"resourceMetrics": 7}', b'{"a":' * 5000, b"[" * 5000])
def test_no_request(body: bytes, is_json: bool) -> None:
    with pytest.raises(Refusal) as refused:
        parse_metrics(body, is_json=is_json)
    assert refused.value.status == 400


# -- over HTTP, by the SDK's own exporter --


@pytest.fixture
def intake(kafka: MockKafka, topics: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.undo()
    with running(kafka, topics[1], source("otlp"), Limits(ack_seconds=2)) as one:
        yield one


class _App:
    """An instrumented application: an SDK, its reader and its exporter."""

    def __init__(self, url: str, temporality: SdkTemporality, compression: Compression) -> None:
        exporter = OTLPMetricExporter(
            endpoint=f"{url}/v1/metrics",
            headers={"Authorization": f"Bearer {TOKEN}"},
            compression=compression,
            timeout=10,
            preferred_temporality={Histogram: temporality, Counter: temporality},
        )
        self._reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
        self._provider = MeterProvider([self._reader], Resource({"service.name": "app"}))
        meter = self._provider.get_meter("test")
        self._tokens = meter.create_histogram(_OLD, unit="{token}")
        meter.create_counter("http.requests").add(1)

    def ask(self, model: str, prompt: int, completion: int) -> None:
        for of, tokens in (("input", prompt), ("output", completion)):
            self._tokens.record(tokens, {"gen_ai.request.model": model, "gen_ai.token.type": of})

    def export(self) -> None:
        assert self._provider.force_flush(10_000)

    def end(self) -> None:
        self._provider.shutdown()


@pytest.mark.parametrize(
    "temporality", [SdkTemporality.DELTA, SdkTemporality.CUMULATIVE], ids=["delta", "cumulative"]
)
@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.NoCompression], ids=["gzip", "plain"])
def test_the_sdk(intake: Running, temporality: SdkTemporality, compression: Compression) -> None:
    for _process in range(2):
        app = _App(intake.url, temporality, compression)
        for number in range(1, 4):
            app.ask("chat", 100 * number, 10 * number)
            app.ask("code", 7, 3)
            app.export()
        app.export()
        app.end()
    events = intake.read()
    of = {model: [event for event in events if event.model == model] for model in ("chat", "code")}
    assert [sum(event.prompt_tokens for event in of[model]) for model in of] == [1200, 42]
    assert [sum(event.completion_tokens for event in of[model]) for model in of] == [120, 18]
    assert [sum(event.requests or 0 for event in of[model]) for model in of] == [6, 6]
    assert sum(event.counter_resets or 0 for event in events) == (
        2 if temporality is SdkTemporality.CUMULATIVE else 0
    )
    assert intake.count("ignored", source="it", reason="other_metric") > 0


@pytest.mark.parametrize(
    "temporality", [SdkTemporality.DELTA, SdkTemporality.CUMULATIVE], ids=["delta", "cumulative"]
)
def test_the_sdk_while_kafka_stands_still(
    intake: Running, temporality: SdkTemporality, kafka: MockKafka
) -> None:
    app = _App(intake.url, temporality, Compression.Gzip)
    app.ask("chat", 100, 10)
    kafka.process.send_signal(signal.SIGSTOP)
    try:
        app.ask("chat", 100, 10)
        timer = threading.Timer(3, kafka.process.send_signal, [signal.SIGCONT])
        timer.start()
        app.export()
        timer.join()
    finally:
        kafka.process.send_signal(signal.SIGCONT)
    app.ask("chat", 1, 1)
    app.export()
    app.end()
    assert sum(event.prompt_tokens for event in intake.read()) == 201
    assert intake.count("requests", source="it", outcome="not_acknowledged") >= 1


def test_json_and_its_answers(intake: Running) -> None:
    found = ExportMetricsServiceRequest()
    metric = found.resource_metrics.add().scope_metrics.add().metrics.add(name=_OLD)
    metric.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    point = metric.histogram.data_points.add(time_unix_nano=_NOW, sum=5, count=1)
    point.attributes.add(key="gen_ai.response.model").value.string_value = "chat"
    point.attributes.add(key="gen_ai.token.type").value.string_value = "input"
    bad = metric.histogram.data_points.add(time_unix_nano=_NOW, sum=-5, count=1)
    bad.CopyFrom(point)
    bad.sum = -5
    body = json_format.MessageToJson(found).replace(
        '"count": "1"', '"exemplars": [{"traceId": "' + "ab" * 16 + '"}], "count": 1'
    )
    answer = intake.post("/v1/metrics", body.encode())
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "1"
    packed = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    answer = intake.post("/v1/metrics", gzip.compress(found.SerializeToString()), headers=packed)
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert ExportMetricsServiceResponse.FromString(answer.content).partial_success.rejected_data_points == 1
    assert [event.prompt_tokens for event in intake.read()] == [5]


def test_errors_speak_otlp(intake: Running) -> None:
    def status(answer: httpx.Response) -> tuple[int, int]:
        assert answer.headers["content-type"] == "application/x-protobuf"
        return answer.status_code, Status.FromString(answer.content).code

    protobuf = {"Content-Type": "application/x-protobuf"}
    assert status(intake.post("/v1/metrics", b"\xff", headers=protobuf)) == (400, 3)
    assert status(intake.client.post("/v1/metrics", content=b"", headers=protobuf)) == (401, 16)
    assert status(intake.post("/v1/metrics", bytes(2_000_000), headers=protobuf)) == (413, 8)
    assert status(intake.post("/v1/metrics/other", b"", headers=protobuf)) == (404, 5)
    assert intake.post("/v1/metrics", b"", headers={"Content-Type": "text/plain"}).status_code == 415
