"""A real Prometheus server: its history and present, alone and beside a source that reads an engine too."""

import json
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import producers_targets as targets
import pytest
from gpu_token_contracts import GpuMetric, TokenUsage
from gpu_token_producers.sources.counters import look
from gpu_token_producers.sources.engines import ENGINES
from gpu_token_producers.sources.exposition import Sample
from gpu_token_producers.sources.journal import Journal
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.sources.prometheus import Moment, PrometheusReader, _Chain, _Span
from gpu_token_producers.sources.settings import PrometheusSource
from gpu_token_producers.sources.status import Metrics, Status
from producers_collect import Collector, assert_tiled, sums, usages
from producers_engine import Engine, Totals
from producers_kafka import MockKafka
from producers_targets import Target, says

from lab.ports import free_port
from testing.parts import prometheus
from testing.processes import Process, ProcessError
from testing.waiting import until

# The newest five seconds are not read, and then it takes a look of the collector.
SETTLED_SECONDS = 8
# So small that a question about all the history is refused (422).
MOST_SAMPLES = 600


class Server:
    """Scrapes engines every second; may be ended and started again on its data."""

    def __init__(self, folder: Path, engines: dict[str, Engine], **relabelled: str) -> None:
        """`relabelled` are jobs beside vllm that have one engine each, all as the instance gpu-a."""
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        addresses = [f"127.0.0.1:{engine.port}" for engine in engines.values()]
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "vllm", "static_configs": [{"targets": addresses}]},
                *(
                    {
                        "job_name": job,
                        "static_configs": [
                            {
                                "targets": [f"127.0.0.1:{engines[name].port}"],
                                "labels": {"instance": "gpu-a"},
                            }
                        ],
                    }
                    for job, name in relabelled.items()
                ),
            ],
        }
        # JSON is YAML too.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._process: Process | None = None

    def start(self) -> None:
        self._process = Process(
            "prometheus",
            [
                prometheus(),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                f"--query.max-samples={MOST_SAMPLES}",
                "--log.level=warn",
            ],
            self._folder,
        )
        self._process.wait_for(self._ready, "it is ready")

    def stop(self) -> None:
        if self._process is not None:
            self._process.__exit__()
            self._process = None

    def ask(self, query: str) -> list[Any]:
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])

    def _ready(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.url}/-/ready", timeout=1).status == 200)
        except OSError:
            return False


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[dict[str, Engine]]:
    made = {name: Engine(tmp_path / name, free_port(), models=name) for name in "ab"}
    for engine in made.values():
        engine.start()
    yield made
    for engine in made.values():
        engine.__exit__()


@pytest.fixture
def server(tmp_path: Path, engines: dict[str, Engine]) -> Iterator[Server]:
    try:
        prometheus()
    except ProcessError as error:
        pytest.skip(f"Debian's package prometheus cannot be had here: {error}")
    (tmp_path / "server").mkdir()
    running = Server(tmp_path / "server", engines)
    running.start()
    yield running
    running.stop()


Start = Callable[..., Collector]


@pytest.fixture
def collector(tmp_path: Path, kafka: MockKafka, topics: tuple[str, str]) -> Iterator[Start]:
    started: list[Collector] = []

    def start(name: str, *sources: dict[str, Any], arguments: tuple[str, ...] = ()) -> Collector:
        made = Collector(tmp_path / name, kafka.address, topics, sources, *arguments)
        started.append(made)
        made.start()
        return made

    yield start
    for each in started:
        each.kill()


def from_server(url: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "history",
        "type": "prometheus",
        "target": url,
        "reads": ["vllm"],
        "match": 'job="vllm"',
        "step_seconds": 1,
        "interval_seconds": 0.5,
    } | more


def direct(engine: Engine) -> dict[str, Any]:
    return {"name": "direct", "type": "vllm", "target": engine.url, "interval_seconds": 0.3}


def shown(engines: dict[str, Engine]) -> Totals:
    """What the engines showed, by their models, which have their names."""
    return {model: amounts for engine in engines.values() for model, amounts in engine.shown().items()}


def idle(engines: dict[str, Engine], server: Server) -> None:
    """Let the engines rest, until everybody has read the last of it."""
    for engine in engines.values():
        engine.idle()
    time.sleep(0.1)
    seen = {name: engine.answers for name, engine in engines.items()}
    until(lambda: all(engines[name].answers > count + 1 for name, count in seen.items()), "all is scraped")
    time.sleep(SETTLED_SECONDS)


def events(kafka: MockKafka, topics: tuple[str, str]) -> dict[str, TokenUsage]:
    return usages(kafka.read(topics[1]))


def test_history_present_and_a_direct_source_count_each_token_once(
    server: Server,
    engines: dict[str, Engine],
    collector: Start,
    kafka: MockKafka,
    topics: tuple[str, str],
) -> None:
    until(lambda: all(engine.answers >= 4 for engine in engines.values()), "there is history")
    # An engine starts again within it.
    engines["a"].kill()
    engines["a"].start()
    until(lambda: engines["a"].answers >= 4, "its second life has history too")
    both = (from_server(server.url), direct(engines["a"]))
    alone = both[:1]
    first = collector("run", *both, arguments=("--since", "1h"))
    until(lambda: engines["a"].answers >= 30, "both are read")
    # Killed in mid-history or not: it goes on.
    first.kill()
    # The direct source is removed: the server's view goes on where it ended. Then it comes back.
    for sources in (alone, both):
        until(lambda: engines["b"].answers >= 3, "it is scraped")
        again = collector("run", *sources, arguments=("--since", "1h"))
        time.sleep(SETTLED_SECONDS)
        again.kill()
    # While nobody collects, the engine starts again: what it did until then, only the server has seen.
    seen = engines["a"].answers
    until(lambda: engines["a"].answers >= seen + 4, "the server alone sees it")
    engines["a"].kill()
    engines["a"].start()
    last = collector("run", *both, arguments=("--since", "1h"))
    # The server goes away for a while, and so its scrapes; the engines go on.
    server.stop()
    until(lambda: any("cannot be reached" in line for line in last.lines("history")), "it is said")
    server.start()
    until(lambda: any("answers again" in line for line in last.lines("history")), "this too")
    idle(engines, server)
    assert last.stop() == 0
    found = events(kafka, topics)
    assert sums(found) == shown(engines)
    assert_tiled(found)
    # A question about everything was refused, and asked again in parts.
    assert "422" not in last.said

    assert "backwards" not in last.said

    # Another collector, without any state, makes the same events of what nobody else had read.
    match = f'instance="127.0.0.1:{engines["b"].port}"'
    other = collector("other", from_server(server.url, match=match), arguments=("--since", "1h"))
    time.sleep(SETTLED_SECONDS)
    assert other.stop() == 0
    assert len(kafka.read(topics[1])) > len(found) + 20
    assert events(kafka, topics) == found

    # The same collector is asked for more history: there is none that it has not read.
    more = collector("run", *both, arguments=("--since", "2h"))
    time.sleep(SETTLED_SECONDS)
    assert more.stop() == 0
    assert events(kafka, topics) == found


def test_the_present_alone_begins_now(
    server: Server,
    engines: dict[str, Engine],
    collector: Start,
    kafka: MockKafka,
    topics: tuple[str, str],
) -> None:
    until(lambda: all(engine.answers >= 5 for engine in engines.values()), "there is history")
    begun = time.time()
    run = collector("run", from_server(server.url))
    time.sleep(SETTLED_SECONDS)
    idle(engines, server)
    assert run.stop() == 0
    found = events(kafka, topics)
    assert {usage.model for usage in found.values()} == {"a", "b"}
    assert min(usage.ts.timestamp() for usage in found.values()) > begun - 1
    everything = shown(engines)
    for model, amounts in sums(found).items():
        assert 0 < amounts["prompt_tokens"] < everything[model]["prompt_tokens"]


def test_what_is_no_answer_of_a_server_is_named(
    server: Server, collector: Start, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    with (
        Target(says(b"<html>log in</html>", kind="text/html")) as html,
        Target(says(b'{"status":"success","data":{"result":[{"metric":{},"values":[[1,"x"]]}]}}')) as words,
        Target(says(b'{"status":"error","error":"out of order"}')) as error,
        Target(targets.hangs) as silent,
        Target(says(b"too much", status="422 Unprocessable Entity")) as much,
    ):
        cases = {
            "html": ({"target": html.url}, "answers what no Prometheus server does ("),
            "words": ({"target": words.url}, "answers 'x', which is no number: check the target."),
            "error": ({"target": error.url}, "refuses the question: out of order."),
            "silent": ({"target": silent.url, "timeout_seconds": 1}, "did not answer within 1 seconds."),
            "much": ({"target": much.url}, "answers 422 Unprocessable Entity (too much)."),
            "match": ({"target": server.url, "match": "job=~'['"}, "answers 400 Bad Request ("),
        }
        run = collector("run", *(from_server("", **more, name=name) for name, (more, _) in cases.items()))
        for name, (_, sentence) in cases.items():
            until(lambda name=name: run.lines(name) != [], f"{name} is named", 40)  # type: ignore[misc]
            (line,) = run.lines(name)
            assert sentence in line
        assert run.stop() == 0


def test_two_jobs_with_one_instance_are_named_and_not_mixed(
    tmp_path: Path,
    server: Server,
    engines: dict[str, Engine],
    collector: Start,
    kafka: MockKafka,
    topics: tuple[str, str],
) -> None:
    (tmp_path / "shared").mkdir()
    shared = Server(tmp_path / "shared", engines, first="a", second="b")
    shared.start()
    # Until it has had both for longer than a reader keeps away from the present.
    time.sleep(2 * SETTLED_SECONDS)
    try:
        run = collector(
            "run",
            from_server(shared.url, match='instance="gpu-a"', name="both"),
            from_server(
                shared.url,
                match='job="vlm"',
                name="none",
                reads=["vllm", "tgi", "dcgm"],
                labels={"model": "m"},
            ),
        )
        until(lambda: len(run.lines("none")) >= 3, "it is said", 40)
        until(lambda: run.lines("both") != [], "it is said", 40)
        assert run.stop() == 0
        (line,) = run.lines("both")
        assert "two targets have the instance gpu-a (jobs first, second) and are not read while they" in line
        sentence = 'has no series of the type vllm with the match job="vlm": check reads and match, and that'
        assert any(sentence in line for line in run.lines("none"))
        assert len(run.lines("none")) == 3
        assert events(kafka, topics) == {}
        one = collector("one", from_server(shared.url, match='job="first"'))
        until(lambda: events(kafka, topics) != {}, "it is read", 40)
        assert one.stop() == 0
        assert {usage.model for usage in events(kafka, topics).values()} == {"a"}
        assert "two targets" not in one.said
    finally:
        shared.stop()


# A server whose every answer follows from the question


Labelled = dict[str, str]


class FakeDelivery:
    """Has every event at once."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.prompts: list[int] = []

    def submit(self, events: Sequence[GpuMetric | TokenUsage]) -> "Future[None]":
        for event in events:
            self.times.append(event.ts.timestamp())
            if isinstance(event, TokenUsage):
                self.prompts.append(event.prompt_tokens)
        future: Future[None] = Future()
        future.set_result(None)
        return future


def answers(*series: tuple[Labelled, Callable[[float], object]]) -> Callable[[str], bytes]:
    """What a server says of series, by the path of a question. It has those that the question names."""

    def answer(path: str) -> bytes:
        query = urllib.parse.parse_qs(urllib.parse.urlparse(path).query)
        start, end, step = (float(query[name][0]) for name in ("start", "end", "step"))
        times = [start + number * step for number in range(int((end - start) / step) + 1)]
        names = set(query["query"][0].split('"')[1].split("|"))
        result = [
            {"metric": labels, "values": [[at, str(value(at))] for at in times]}
            for labels, value in series
            if labels["__name__"] in names
        ]
        return json.dumps({"status": "success", "data": {"result": result}}).encode()

    return answer


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[..., tuple[PrometheusReader, FakeDelivery]]]:
    """Makes readers of a server that answers so."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    servers = []

    def make(answer: Callable[[str], bytes], **settings: Any) -> tuple[PrometheusReader, FakeDelivery]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = answer(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = PrometheusSource.model_validate(
            {
                "name": "history",
                "type": "prometheus",
                "target": f"http://127.0.0.1:{server.server_address[1]}",
                "since": "1h",
            }
            | settings
        )
        delivery = FakeDelivery()
        return PrometheusReader(
            source,
            Status("history", "prometheus", Metrics()),
            Journal(tmp_path, "prometheus history", delivery),
            engine_journal=lambda kind, address: Journal(tmp_path, f"{kind} {address}", delivery),
            scraped=[],
        ), delivery

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("step_seconds", [5, 15, 20, 60, 300])
def test_gpus_are_read_every_15_seconds_however_long_the_step_is(
    reader: Callable[..., tuple[PrometheusReader, FakeDelivery]], step_seconds: int
) -> None:
    """A reading covers 30 seconds: one a minute would make a GPU cost half."""
    labels = {"__name__": "DCGM_FI_DEV_GPU_UTIL", "gpu": "0", "UUID": "GPU-0", "instance": "gpu-a:9400"}
    made, delivery = reader(
        answers(({**labels, "job": "dcgm"}, lambda _: 50)), reads=["dcgm"], step_seconds=step_seconds
    )
    made.look()
    times = delivery.times
    assert len(set(times)) == len(times) > 100
    assert {round(after - before) for before, after in pairwise(times)} == {min(step_seconds, 15)}
    assert times[-1] - times[0] >= 3600 - 2 * max(step_seconds, 15)


def test_a_process_of_another_kind_on_the_same_host_is_no_second_engine(
    reader: Callable[..., tuple[PrometheusReader, FakeDelivery]],
) -> None:
    began = time.time() - 7200
    engine = {"instance": "gpu-a", "job": "vllm", "model_name": "m", "engine": "0"}
    made, delivery = reader(
        answers(
            ({"__name__": "process_start_time_seconds", "instance": "gpu-a", "job": "node"}, lambda at: at),
            ({"__name__": "process_start_time_seconds", "instance": "gpu-a", "job": "vllm"}, lambda _: began),
            ({"__name__": "vllm:prompt_tokens_total", **engine}, lambda at: int(at - began)),
            ({"__name__": "vllm:generation_tokens_total", **engine}, lambda _: 0),
        ),
        reads=["vllm"],
    )
    made.look()
    assert 3500 < sum(delivery.prompts) <= 3600 + 15
    assert made._remarks == frozenset()


def test_an_engine_whose_model_nobody_names_is_named(
    reader: Callable[..., tuple[PrometheusReader, FakeDelivery]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def tgi(instance: str) -> tuple[Labelled, Callable[[float], object]]:
        labels = {"__name__": "tgi_request_input_length_sum", "instance": instance, "job": "tgi"}
        return labels, lambda at: int(at)

    made, delivery = reader(
        answers(tgi("gpu-a:80"), tgi("gpu-b:80")), reads=["tgi"], instances={"gpu-a:80": {"model": "m"}}
    )
    made.look()
    assert delivery.prompts
    assert (
        "gpu-b:80 is not read: a server of type tgi does not say which model it has. Give instances: "
        "{'gpu-b:80': {model: NAME}}." in capsys.readouterr().err
    )


# Thirty days


def test_thirty_days_are_read_in_parts_and_the_progress_is_told(
    collector: Start, kafka: MockKafka, topics: tuple[str, str]
) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked: list[int] = []
    began = time.time() - 40 * 86_400

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
            start, end, step = (float(query[name][0]) for name in ("start", "end", "step"))
            times = [start + number * step for number in range(int((end - start) / step) + 1)]
            asked.append(len(times))
            labels = {"model_name": "m", "engine": "0", "instance": "gpu-a:8000", "job": "vllm"}
            result = [
                {
                    "metric": {"__name__": name, **labels},
                    "values": [[at, str(int((at - began) * rate))] for at in times],
                }
                for name, rate in (("vllm:prompt_tokens_total", 10), ("vllm:generation_tokens_total", 1))
            ]
            body = json.dumps({"status": "success", "data": {"result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        run = collector("run", from_server(url, step_seconds=60), arguments=("--since", "30d"))
        assert run.process is not None
        until(lambda: sum(asked) >= 30 * 86_400 / 60, "all is read", 100)
        time.sleep(3)
        peak = next(
            line
            for line in Path(f"/proc/{run.process.pid}/status").read_text().splitlines()
            if "VmHWM" in line
        )
        assert run.stop() == 0
    finally:
        server.shutdown()
    assert max(asked) <= 960
    assert int(peak.split()[1]) < 200_000, peak
    assert any(", 0% of 720 hours." in line or "% of 720 hours." in line for line in run.lines("history"))
    found = events(kafka, topics)
    total = sum(usage.prompt_tokens for usage in found.values())
    assert abs(total - 30 * 86_400 * 10) <= 120 * 10
    assert_tiled(found)


def test_an_older_value_of_the_server_is_no_restart_after_a_direct_look() -> None:
    """Of an engine that does not say when its counters began."""
    engine = ENGINES["sglang"]
    chain = _Chain(engine, "gpu-a:30000", Labels(), from_us=0)

    def samples(value: float) -> list[Sample]:
        return [Sample("sglang:prompt_tokens_total", {"model_name": "m"}, value)]

    looked = look(engine, samples(1000), at_us=1_000_500_000)
    span = _Span(looked, looked)
    for at_seconds, value in [(1001, 990), (1002, 990), (1003, 1010), (1004, 1030)]:
        chain.go_on(span, Moment(at_seconds * 1_000_000, samples(value)))
    assert [usage.prompt_tokens for usage in chain.events] == [10, 20]
    assert chain.resets == 0
    # Later than the server looks back it is one.
    chain.go_on(span, Moment(1_400_000_000, samples(7)))
    assert (chain.events[-1].prompt_tokens, chain.resets) == (7, 1)
