"""A real LiteLLM proxy that reports to the intake by its own generic API callback."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from producers_intake import TOKEN, Running, running, source
from producers_kafka import MockKafka
from producers_litellm import proxy

from testing.waiting import until

_MARKER = "MARKER-of-a-prompt"
_ANSWER = "MARKER-of-an-answer"
_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 96},
    "completion_tokens_details": {"reasoning_tokens": 11},
}


class _Engine(BaseHTTPRequestHandler):
    """Speaks as vLLM does: every second request fails, to be tried again."""

    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        if self.asked % 2:
            self._answer(500, {"error": {"message": "overloaded"}})
            return
        message = {"role": "assistant", "content": _ANSWER}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = {"id": f"chatcmpl-{self.asked}", "object": "chat.completion", "created": 1, "model": "llama"}
        self._answer(200, {**body, "choices": choices, "usage": _USAGE})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def intake(kafka: MockKafka) -> Iterator[Running]:
    kafka.create("litellm-usage")
    with running(kafka, "litellm-usage", source("litellm", deployment="chat-a")) as one:
        yield one


@pytest.fixture(scope="module")
def gateway(intake: Running, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    mocked = {"model": "openai/llama", "api_key": "none", "mock_response": _ANSWER}
    models = [
        {"model_name": "chat", "litellm_params": mocked},
        {"model_name": "served", "litellm_params": {"model": "hosted_vllm/llama", "api_base": engine}},
    ]
    callback = {
        "endpoint": f"{intake.url}/v1/litellm",
        "headers": {"Authorization": f"Bearer {TOKEN}"},
        "max_retries": 20,
        "retry_delay": 0.1,
    }
    with proxy(tmp_path_factory.mktemp("litellm"), models, callback, num_retries=2) as client:
        yield client


def _ask(gateway: httpx.Client, content: str, **fields: Any) -> httpx.Response:
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": f"{_MARKER} {content}"}],
        "metadata": {"tags": ["env:prod"]},
        **fields,
    }
    answer = gateway.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def _of(intake: Running, request_id: str) -> list[Any]:
    return [event for event in intake.read() if event.event_id and request_id in event.event_id]


def test_not_streamed_then_from_the_cache(gateway: httpx.Client, intake: Running) -> None:
    first = _ask(gateway, "one", user="eve").json()
    again = _ask(gateway, "one", user="eve").json()
    assert again["id"] == first["id"]
    until(lambda: intake.count("ignored", source="it", reason="cache_hit") >= 1, "the cached answer is known")
    (event,) = _of(intake, first["id"])
    usage = first["usage"]
    assert (event.prompt_tokens, event.completion_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert (event.model, event.team, event.tenant, event.user) == ("chat", "search", "acme", "eve")
    assert (event.deployment, event.tags["env"]) == ("chat-a", "prod")


def test_streamed(gateway: httpx.Client, intake: Running) -> None:
    answer = _ask(gateway, "two", stream=True, stream_options={"include_usage": True})
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    until(lambda: bool(_of(intake, chunks[0]["id"])), "the streamed request is an event")
    (event,) = _of(intake, chunks[0]["id"])
    (usage,) = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert (event.prompt_tokens, event.completion_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )


def test_retried_by_the_gateway(gateway: httpx.Client, intake: Running, engine: str) -> None:
    _ask(gateway, "three", model="served")
    assert _Engine.asked == 2
    until(lambda: bool(_of(intake, "chatcmpl-2:")), "the second try is an event")
    (event,) = _of(intake, "chatcmpl-2:")
    assert (event.prompt_tokens, event.cached_prompt_tokens) == (120, 96)
    assert (event.completion_tokens, event.reasoning_tokens) == (30, 11)
    assert (event.model, event.endpoint) == ("served", engine.removesuffix("/v1"))
    assert intake.count("ignored", source="it", reason="failure") >= 1


def test_kafka_stands_still_meanwhile(gateway: httpx.Client, intake: Running, kafka: MockKafka) -> None:
    """The gateway repeats what was not acknowledged; LiteLLM 1.99.0 does so if it is told to."""
    kafka.process.send_signal(signal.SIGSTOP)
    try:
        ids = [_ask(gateway, f"stopped {number}").json()["id"] for number in range(20)]
        assert intake.count("requests", source="it", outcome="accepted") < 20
    finally:
        kafka.process.send_signal(signal.SIGCONT)
    until(lambda: {one for one in ids if _of(intake, one)} == set(ids), "all requests are events")


def test_no_prompt_and_no_answer_is_kept(gateway: httpx.Client, intake: Running) -> None:
    stored = b"".join(message.value() or b"" for message in intake.kafka.read(intake.topic))
    assert b"chatcmpl-2" in stored
    assert b"MARKER" not in stored
    assert intake.count("ignored", source="it", reason="refused") == 0
