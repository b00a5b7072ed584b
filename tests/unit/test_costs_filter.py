"""What is checked and shown of GET /cost, and how the role asks for it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from ansible_collections.gpu_token.pipeline.plugins.filter import costs
from gpu_token_contracts import GpuMetric, TokenUsage, encode
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.ledger.offline import Source, answer
from gpu_token_processor.ledger.question import Question
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.replay import ReplayPlan, replay_events
from gpu_token_producers.traces.trace import open_trace

from . import local_play
from .role_files import ROOT

TRACE = ROOT / "apps/producers/tests/data/azure-llm-2023-code-excerpt.csv"
TEAMS = ("search", "support", "research")
RANGE = {"start": "2023-11-16T18:17:03Z", "end": "2023-11-16T18:20:24Z"}
REPLAY = {"name": "replay", "query": {"model": "code", **RANGE}, "events": 200}
REPLAY |= {"prompt_tokens": 414_215, "completion_tokens": 4_907}


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the API answers about a replay of the excerpt."""
    plan = ReplayPlan(
        trace=open_trace(TRACE),
        model="code",
        host="gpu-host-1",
        gpus=load_gpus(BUILT_IN_SEED),
        metrics_interval_seconds=5,
        teams=TEAMS,
    )
    events = tmp_path_factory.mktemp("costs") / "events.jsonl"
    sent = (event for event in replay_events(plan) if isinstance(event, GpuMetric | TokenUsage))
    events.write_bytes(b"".join(encode(event) + b"\n" for event in sent))
    question = Question(start_us=None, end_us=None, gap_us=30_000_000, group_by=("model", "team"))
    found = answer([Source("events", events)], Book(Catalog(), exact(0.85)), question)
    return encode_answer(found).decode()


def registered(text: str, **changed: Any) -> dict[str, Any]:
    """What the task registers of an answer."""
    result = {"item": REPLAY, "status": 200, "content": text, "json": json.loads(text)}
    return {"results": [{**result, **changed}]}


def passed(told: dict[str, Any]) -> dict[str, bool]:
    """The checks by name."""
    return {one["name"]: one["passed"] for one in costs.cost_checks(told)}


def test_costs_of_a_replay_add_up_and_have_every_token(body: str) -> None:
    add_up, tokens = costs.cost_checks(registered(body))
    assert (add_up["name"], add_up["passed"]) == ("replay costs add up", True)
    assert add_up["detail"] == "0.25875 USD in 3 rows, 0 idle, 0.25875 in total"
    assert tokens == {"name": "replay tokens by team", "passed": True, "detail": "419122 of 419122 tokens"}


@pytest.mark.parametrize("part", ["rows", "idle", "total"])
def test_the_last_digit_counts(body: str, part: str) -> None:
    """Where floats would say that all is well."""
    answer = json.loads(body, parse_float=Decimal)
    amounts = answer[part][0] if part == "rows" else answer[part]
    amounts["fleet_usd" if part == "idle" else "cost_usd"] += Decimal("1e-20")
    text = msgspec.json.Encoder(decimal_format="number").encode(answer).decode()
    assert passed(registered(text)) == {"replay costs add up": False, "replay tokens by team": True}


@pytest.mark.parametrize("changed", [{"model": "other"}, {"prompt_tokens": 1}])
def test_tokens_of_another_number_or_model_fail(body: str, changed: dict[str, Any]) -> None:
    model = changed.pop("model", "code")
    item = {**REPLAY, **changed, "query": {"model": model, **RANGE}}
    assert passed(registered(body, item=item)) == {
        "replay costs add up": True,
        "replay tokens by team": False,
    }


def test_an_api_that_does_not_answer_fails_both() -> None:
    late = {"item": REPLAY, "status": 503, "json": {"detail": "The answer takes too long."}, "msg": "503"}
    away = {"item": REPLAY, "status": -1, "msg": "refused"}
    for result, why in ((late, "The answer takes too long."), (away, "refused")):
        checks = costs.cost_checks({"results": [result]})
        assert [(one["passed"], one["detail"]) for one in checks] == [(False, why)] * 2
        assert costs.costs_told({"results": [result]}) == {}
    assert costs.cost_checks({"results": []}) == []
    assert costs.cost_table({}) == ""


TABLE = """\
Cost by model and team, from 2026-03-02T10:00:00Z to 2026-03-02T11:00:00Z:
model                             team       tokens       USD  USD per million
chat                              -             100         -                -
chat                              search  1,500,000  3.000000         2.000000
idle: GPUs without tokens                            0.500000
idle: deployments without tokens                     0.000000
total                                     1,500,100  3.500000         2.333333
"""


def test_what_is_kept_is_what_people_see() -> None:
    def amounts(tokens: int, cost: float | None, million: float | None) -> dict[str, Any]:
        bounds = {"start": "2026-03-02T10:00:00Z", "end": "2026-03-02T11:00:00Z"}
        costs = {"cost_usd": cost, "cost_per_million_tokens_usd": million}
        return {**bounds, "tokens": {"total": tokens}, **costs}

    rows = [("search", amounts(1_500_000, 3.0, 2.0)), (None, amounts(100, None, None))]
    told = {
        "rows": [{"key": {"model": "chat", "team": team}, **row} for team, row in reversed(rows)],
        "idle": {"fleet_usd": 0.5, "loaded_usd": 0, "unreported_usd": 0},
        "total": amounts(1_500_100, 3.5, 2.333333333333),
    }
    kept = costs.costs_told(registered(json.dumps(told)))
    assert kept["rows"][1] == {
        "model": "chat",
        "team": "search",
        "tokens": 1_500_000,
        "cost_usd": 3.0,
        "cost_per_million_tokens_usd": 2.0,
    }
    assert costs.cost_table(kept) == TABLE


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: gpu_token.pipeline.processor
        tasks_from: costs
    - ansible.builtin.copy:
        content: >-
          {{{{ {{'checks': _processor_cost | gpu_token.pipeline.cost_checks,
                'costs': _processor_cost | gpu_token.pipeline.costs_told}} | to_json }}}}
        dest: "{folder}/found"
        mode: "0600"
"""


@pytest.fixture
def api(body: str) -> Iterator[http.server.ThreadingHTTPServer]:
    """Gives the answer to whoever asks the right question with the token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path)
            asked = path.path, dict(parse_qsl(path.query)), self.headers["Authorization"]
            right = asked == ("/cost", {**RANGE, "group_by": "model,team"}, "Bearer secret")
            self.send_response(200 if right else 400)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode() if right else b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_the_role_asks_and_keeps_every_digit(
    api: http.server.ThreadingHTTPServer, body: str, tmp_path: Path
) -> None:
    play = tmp_path / "play.yml"
    play.write_text(PLAY.format(folder=tmp_path))
    local_play.run(
        play,
        "processor-1",
        processor_verify_usage=[{"name": "round trip", "query": {"host": "h"}, "events": 20}, REPLAY],
        processor_port=api.server_address[1],
        processor_api_access="token",
        processor_api_token="secret",
        private_ip_address="127.0.0.1",
    )
    found = json.loads((tmp_path / "found").read_text())
    assert found["checks"] == costs.cost_checks(registered(body))
    assert all(check["passed"] for check in found["checks"])
    assert found["costs"] == costs.costs_told(registered(body))
    assert [row["team"] for row in found["costs"]["rows"]] == sorted(TEAMS)
