import json
from datetime import UTC, datetime
from typing import Any

import pytest
from gpu_token_processor.api.answers import Answers, Asked
from gpu_token_processor.selection import Selection
from processor_fakes import TOPIC_METRIC, metric, usage
from processor_stage import EXAMPLE, Stage, at, thirty_seconds
from pymongo.errors import NetworkTimeout, ServerSelectionTimeoutError

PROBLEM = "application/problem+json"


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_worked_example(stage: Stage) -> None:
    thirty_seconds(stage)
    answer = stage.get("/cost", **EXAMPLE)
    assert answer["window"] == {
        "start": "2026-01-01T11:59:00Z",
        "end": "2026-01-01T11:59:30Z",
        "seconds": 30.0,
        "chosen_by": "request",
    }
    assert answer["reason"] is None
    assert answer["tokens"]["total_tokens"] == 86_400
    assert answer["gpu_seconds"] == 30
    assert answer["wall_clock"]["cost_per_token_usd"] == pytest.approx(8.198e-8, rel=1e-3)
    assert answer["wall_clock"]["cost_per_million_tokens_usd"] == pytest.approx(0.08198, rel=1e-3)
    assert answer["utilization_weighted"]["cost_per_million_tokens_usd"] == pytest.approx(0.04099, rel=1e-3)
    assert answer["energy"]["energy_kwh"] == pytest.approx(0.0023333, rel=1e-4)
    assert answer["energy"]["cost_usd"] == pytest.approx(0.00046667, rel=1e-4)
    assert answer["models"][0]["wall_clock"]["cost_usd"] == pytest.approx(answer["wall_clock"]["cost_usd"])
    assert answer["gpus"][0]["total_tokens"] == 86_400


def test_the_default_window_ends_with_the_latest_event_not_with_the_clock(stage: Stage) -> None:
    thirty_seconds(stage)
    answer = stage.get("/cost")
    assert answer["window"]["chosen_by"] == "latest_event"
    assert answer["window"]["end"] == "2026-01-01T11:59:29.501000Z"
    assert answer["window"]["seconds"] == 30
    assert answer["tokens"]["events"] == 60


def test_the_order_of_arrival_changes_nothing(stage: Stage) -> None:
    stage.send("token.usage.v1", *(usage(ts=at(half / 2)) for half in reversed(range(60))))
    stage.send(TOPIC_METRIC, *(metric(ts=at(second)) for second in range(29, -2, -1)))
    assert stage.get("/cost", **EXAMPLE)["wall_clock"]["cost_per_token_usd"] == pytest.approx(
        8.198e-8, rel=1e-3
    )


def test_two_gpus_of_index_0_have_each_its_price(stage: Stage) -> None:
    stage.send(TOPIC_METRIC, metric(ts=at(0)), metric(ts=at(0), name="A100 40GB", price_per_hour_usd=None))
    answer = stage.get("/cost", **EXAMPLE)
    assert [(gpu["gpu_id"], gpu["price_source"]) for gpu in answer["gpus"]] == [
        ("gpu-a/0/A100 40GB", "inventory"),
        ("gpu-a/0/RTX 3090", "event"),
    ]
    assert answer["wall_clock"]["cost_usd"] == pytest.approx((3.2 + 0.85) * 30 / 3600)
    assert answer["idle_usd"] == answer["wall_clock"]["cost_usd"]


@pytest.mark.parametrize(
    ("topic", "event", "reason", "cost_usd"),
    [
        (None, None, "no_events", None),
        ("token.usage.v1", usage(ts=at(1)), "no_gpu_metrics", None),
        (TOPIC_METRIC, metric(ts=at(0)), "no_tokens", pytest.approx(0.85 * 30 / 3600)),
    ],
)
def test_no_division_without_tokens(
    stage: Stage, topic: str | None, event: dict[str, Any], reason: str, cost_usd: float | None
) -> None:
    if topic:
        stage.send(topic, event)
    answer = stage.get("/cost", **EXAMPLE)
    assert answer["reason"] == reason
    assert answer["wall_clock"]["cost_usd"] == cost_usd
    assert answer["wall_clock"]["cost_per_token_usd"] is None


def test_an_empty_range_is_said(stage: Stage) -> None:
    thirty_seconds(stage)
    for path in ("/cost", "/usage", "/throughput"):
        assert stage.get(path, start=at(30), end=at(0))["reason"] == "empty_range"


@pytest.mark.parametrize(
    ("selected", "models"),
    [
        ({"tag": "env:prod"}, ["plain"]),
        ({"tag": "url:http://x:1"}, ["colons"]),
        ({"tag": "env:"}, ["empty"]),
        ({"tag": "env:none"}, []),
        ({"api_key_hash": "k1"}, ["plain"]),
    ],
)
def test_a_tag_or_a_key_selects_rows(stage: Stage, selected: dict[str, str], models: list[str]) -> None:
    stage.send(
        "token.usage.v1",
        usage(ts=at(0), model="plain", tags={"env": "prod"}, api_key_hash="k1"),
        usage(ts=at(0), model="colons", tags={"url": "http://x:1"}, api_key_hash="k2"),
        usage(ts=at(0), model="empty", tags={"env": ""}),
    )
    rows = stage.get("/cost", **EXAMPLE, **selected)["rows"]
    assert [row["key"]["model"] for row in rows] == models


def test_energy_without_a_price_is_null(stage: Stage) -> None:
    thirty_seconds(stage)
    energy = Answers(stage.reads, 30, 30, 0.85, None).cost(Asked(None, None), Selection()).energy
    assert energy.energy_kwh > 0
    assert (energy.price_per_kwh_usd, energy.cost_usd) == (None, None)


def test_a_known_id_with_other_content_is_a_conflict_and_named(stage: Stage) -> None:
    stage.send("token.usage.v1", usage(event_id="x"), usage(event_id="x"), usage(event_id="x", model="other"))
    (letters,) = stage.get("/dead-letters")["items"]
    assert (letters["reason"], letters["events"]) == ("conflict", 1)
    coverage = stage.get("/cost", start=at(0), end=at(90))["coverage"]
    assert (coverage["conflicting_events"], coverage["dead_letters"]) == (1, 1)
    assert [item["model"] for item in stage.get("/usage")["items"]] == ["llama-3-70b"]


def test_usage_of_everything_and_of_a_range(stage: Stage) -> None:
    thirty_seconds(stage)
    stage.send("token.usage.v1", usage(ts=at(-40), model="mixtral", prompt_tokens=1, completion_tokens=2))
    everything = stage.get("/usage")
    assert everything["window"]["chosen_by"] == "everything"
    assert everything["totals"] == {
        "events": 61,
        "prompt_tokens": 60_001,
        "completion_tokens": 26_402,
        "total_tokens": 86_403,
    }
    assert [item["model"] for item in everything["items"]] == ["llama-3-70b", "mixtral"]
    assert stage.get("/usage", start=at(0))["totals"]["events"] == 60
    assert stage.get("/usage", end=at(0))["totals"]["events"] == 1
    assert stage.get("/usage", model="mixtral")["totals"]["events"] == 1
    assert stage.get("/usage", host="gpu-b")["reason"] == "no_events"
    assert stage.get("/usage", gpu_index=0)["totals"]["events"] == 61


def test_a_range_holds_its_start_and_not_its_end(stage: Stage) -> None:
    stage.send("token.usage.v1", usage(ts=at(0)), usage(ts=at(30)))
    assert stage.get("/usage", **EXAMPLE)["totals"]["events"] == 1
    assert stage.get("/usage", start="2026-01-01T12:59:00+01:00", end=at(30))["totals"]["events"] == 1


def test_pages(stage: Stage) -> None:
    stage.send("token.usage.v1", *(usage(model=f"m-{number}") for number in range(5)))
    seen, cursor = [], None
    for _ in range(3):
        page = stage.get("/usage", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [item["model"] for item in page["items"]]
        assert page["totals"]["events"] == 5
        cursor = page["next_cursor"]
    assert seen == [f"m-{number}" for number in range(5)]
    assert cursor is None


def test_throughput(stage: Stage) -> None:
    thirty_seconds(stage)
    answer = stage.get("/throughput", **EXAMPLE)
    assert (answer["events_per_second"], answer["total_tokens_per_second"]) == (2, 2880)
    assert stage.get("/throughput", model="other", **EXAMPLE)["total_tokens_per_second"] == 0


def test_gpu_info_before_and_after_the_first_metric(stage: Stage) -> None:
    assert stage.get("/gpu/info") == {"latest": None, "items": [], "next_cursor": None}
    stage.send(
        TOPIC_METRIC,
        metric(ts=at(1), rack="r-7"),
        metric(ts=at(0), power_w=1),
        metric(ts=at(-60), name="A100 40GB", host="gpu-b"),
    )
    answer = stage.get("/gpu/info")
    assert [gpu["gpu_id"] for gpu in answer["items"]] == ["gpu-a/0/RTX 3090", "gpu-b/0/A100 40GB"]
    assert [gpu["reporting"] for gpu in answer["items"]] == [True, False]
    first = answer["items"][0]
    assert answer["latest"] == first
    assert (first["ts"], first["power_w"], first["rack"]) == ("2026-01-01T11:59:01Z", 280, "r-7")
    assert first["source"] == {"topic": TOPIC_METRIC, "partition": 0, "offset": 0}
    assert [gpu["host"] for gpu in stage.get("/gpu/info", host="gpu-b")["items"]] == ["gpu-b"]
    assert stage.get("/gpu/info", name="H100")["items"] == []
    cursor = stage.get("/gpu/info", limit=1)["next_cursor"]
    assert stage.get("/gpu/info", cursor=cursor)["items"][0]["host"] == "gpu-b"


def all_gpus(stage: Stage, limit: int) -> list[dict[str, Any]]:
    """Page by page."""
    found, cursor = [], None
    while True:
        page = stage.get("/gpu/info", limit=limit, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_gpus_that_report_come_first_and_all_come_by_pages(stage: Stage) -> None:
    stage.send(
        TOPIC_METRIC,
        *(
            metric(ts=at(-3600 - number), host=f"a-{number:03}", uuid=f"GPU-{number:03}")
            for number in range(150)
        ),
        metric(ts=at(1), host="y", uuid="GPU-z-second"),
        metric(ts=at(2), host="z", uuid="GPU-z-third"),
        metric(ts=at(0), host="x", uuid="GPU-z-first"),
    )
    live = ["GPU-z-first", "GPU-z-second", "GPU-z-third"]
    first = [gpu["gpu_id"] for gpu in stage.get("/gpu/info")["items"]]
    assert len(first) == 100
    # Then the last seen.
    assert first[:5] == [*live, "GPU-000", "GPU-001"]
    for limit in (1, 2, 3, 50, 1000):
        found = [gpu["gpu_id"] for gpu in all_gpus(stage, limit)]
        assert found == [*live, *(f"GPU-{number:03}" for number in range(150))]


def test_no_gpu_is_missed_that_reports_between_two_pages(stage: Stage) -> None:
    stage.send(TOPIC_METRIC, *(metric(ts=at(number), uuid=f"GPU-{number}") for number in range(4)))
    page = stage.get("/gpu/info", limit=2)
    stage.send(TOPIC_METRIC, metric(ts=at(10), uuid="GPU-3"))
    rest = stage.get("/gpu/info", limit=2, cursor=page["next_cursor"])
    assert [gpu["gpu_id"] for gpu in page["items"] + rest["items"]] == [
        f"GPU-{number}" for number in range(4)
    ]


@pytest.mark.parametrize(
    ("name", "own", "price", "source"),
    [
        ("A100 40GB", 1.5, 1.5, "event"),
        ("A100 40GB", None, 3.2, "inventory"),
        ("never heard of", None, 0.85, "default"),
    ],
)
def test_a_gpu_shows_its_price_wherever_it_comes_from(
    stage: Stage, name: str, own: float | None, price: float, source: str
) -> None:
    stage.send(TOPIC_METRIC, metric(ts=at(0), name=name, price_per_hour_usd=own))
    (gpu,) = stage.get("/gpu/info")["items"]
    assert (gpu["price_per_hour_usd"], gpu["price_source"]) == (price, source)
    (of_cost,) = stage.get("/cost")["gpus"]
    assert of_cost["price_source"] == source


def test_gpu_info_shows_whatever_is_stored(stage: Stage) -> None:
    from bson import Decimal128, ObjectId

    stage.store.latest["x"] = {
        "ts": datetime(2026, 1, 1, tzinfo=UTC),
        "gpu_id": "x",
        "odd": [ObjectId(b"0" * 12), {"deep": Decimal128("1.5")}, float("nan")],
    }
    assert stage.get("/gpu/info")["items"][0]["odd"] == ["30" * 12, {"deep": "1.5"}, "nan"]


def test_dead_letters(stage: Stage) -> None:
    assert stage.get("/dead-letters") == {"total": 0, "items": []}
    other = Stage()
    other.send("token.usage.v1", b"{", b"]", usage(prompt_tokens=-1))
    answer = other.get("/dead-letters")
    assert answer["total"] == 3
    assert [
        (item["topic"], item["dlq_topic"], item["reason"], item["events"]) for item in answer["items"]
    ] == [
        ("token.usage.v1", "token.usage.v1.dlq", "invalid_json", 2),
        ("token.usage.v1", "token.usage.v1.dlq", "out_of_range", 1),
    ]


@pytest.mark.parametrize(
    ("path", "parameters", "parameter"),
    [
        ("/cost", {"start": "yesterday"}, "start"),
        ("/cost", {"start": "2026-01-01T12:00:00"}, "start"),
        ("/cost", {"start": "2026-02-30T12:00:00Z"}, "start"),
        ("/cost", {"start": "1767268800"}, "start"),
        ("/cost", {"begin": "2026-01-01T12:00:00Z"}, "begin"),
        ("/usage", {"limit": "0"}, "limit"),
        ("/usage", {"limit": "many"}, "limit"),
        ("/usage", {"gpu_index": "-1"}, "gpu_index"),
        ("/usage", {"model": ""}, "model"),
        ("/cost", {"tag": "env"}, "tag"),
        ("/cost", {"tag": ":prod"}, "tag"),
        ("/cost", {"api_key_hash": ""}, "api_key_hash"),
        ("/cost", {"step": "hour", "start": "2020-01-01T00:00:00Z"}, "step"),
        ("/throughput", {"step": "hour", "start": "2020-01-01T00:00:00Z"}, "step"),
        ("/usage", {"step": "hour", "end": "2030-01-01T00:00:00Z"}, "step"),
        ("/usage", {"model": "x" * 257}, "model"),
        ("/gpu/info", {"id": "0"}, "id"),
        ("/gpu/info", {"cursor": "gpu-a/0/RTX 3090"}, "cursor"),
        ("/gpu/info", {"cursor": ""}, "cursor"),
        ("/dead-letters", {"topic": "t"}, "topic"),
        ("/prices", {"at": "now"}, "at"),
        ("/health", {"x": "1"}, "x"),
    ],
)
def test_a_bad_parameter_is_named(
    stage: Stage, path: str, parameters: dict[str, str], parameter: str
) -> None:
    thirty_seconds(stage)
    response = stage.client.get(path, params=parameters)
    assert response.status_code == 422
    assert response.headers["content-type"] == PROBLEM
    problem = response.json()
    assert problem["errors"][0]["parameter"] == parameter
    assert problem["detail"].startswith(f"{parameter}: ")


@pytest.mark.parametrize(
    ("path", "query", "parameter", "times"),
    [
        ("/cost", "end=junk&end=2026-01-01T12:00:00Z", "end", 2),
        ("/usage", "model=a&limit=5&model=a&model=b", "model", 3),
        ("/gpu/info", "host=a&host=b", "host", 2),
        ("/throughput", "start=2026-01-01T12:00:00Z&start=", "start", 2),
        ("/prices", "at=2026-01-01T12:00:00Z&at=2027-01-01T12:00:00Z", "at", 2),
        ("/dead-letters", "x&x", "x", 2),
        ("/health", "x=1&x=2", "x", 2),
    ],
)
def test_a_repeated_parameter_is_named(
    stage: Stage, path: str, query: str, parameter: str, times: int
) -> None:
    response = stage.client.get(f"{path}?{query}")
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert response.json()["detail"] == f"{parameter}: is given {times} times: give it once."


@pytest.mark.parametrize("path", ["/", "/metrics", "/openapi.json"])
def test_head_is_answered_apart_from_the_document(stage: Stage, path: str) -> None:
    response = stage.client.head(path)
    assert (response.status_code, response.content) == (200, b"")


def test_head_is_get_without_the_body(stage: Stage) -> None:
    thirty_seconds(stage)
    # Events have no end (test_processor_events.py).
    paths = stage.get("/openapi.json")["paths"].keys() - {"/events"}
    for path in [*sorted(paths), "/usage?end=junk", "/nothing"]:
        get, head = stage.client.get(path), stage.client.head(path)
        assert head.content == b"", path
        assert (head.status_code, head.headers) == (get.status_code, get.headers), path
    stage.reasons = ["mongodb: no answer for 15 s"]
    assert stage.client.head("/health").status_code == 503


def test_other_methods_are_told_which_there_are(stage: Stage) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        response = stage.client.request(method, "/health")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2016-12-31T23:59:60Z",
        "2026-01-01t00:00:00.1z",
    ],
)
def test_every_time_of_rfc_3339_is_taken(stage: Stage, time: str) -> None:
    stage.get("/cost", start=time)
    stage.get("/usage", end=time)


def test_errors_are_problems(stage: Stage) -> None:
    for response, status in (
        (stage.client.get("/nothing"), 404),
        (stage.client.post("/cost"), 405),
    ):
        assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
        assert response.json()["status"] == status


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (ServerSelectionTimeoutError("mongo-1:27017"), 503, "The store does not answer"),
        (NetworkTimeout("mongo-1:27017: timed out"), 503, "The answer takes too long"),
        (KeyError("x"), 500, "Internal Server Error"),
    ],
)
def test_what_is_inside_stays_inside(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, title: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(stage.reads, "usage_sums", fail)
    response = stage.client.get("/usage")
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    assert response.json()["title"] == title
    assert "mongo-1" not in response.text
    assert "Traceback" not in response.text


def test_health(stage: Stage) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        assert stage.get(path)["status"] == "ok"
    stage.reasons = ["mongodb: no answer for 15 s"]
    for path in ("/health", "/health/live", "/health/ready"):
        response = stage.client.get(path)
        assert response.status_code == 503
        assert response.json()["reasons"] == ["mongodb: no answer for 15 s"]


def test_metrics(stage: Stage) -> None:
    stage.get("/usage")
    stage.client.get("/no/such/path")
    text = stage.client.get("/metrics").text
    assert 'gpu_token_http_request_seconds_count{route="/usage",status="200"} 1.0' in text
    assert 'route="unknown",status="404"' in text


def test_openapi_has_problems_and_pages(stage: Stage) -> None:
    paths = stage.get("/openapi.json")["paths"]
    assert {"/gpu/info", "/usage", "/cost", "/throughput", "/dead-letters", "/health"} <= paths.keys()
    for path, operations in paths.items():
        assert PROBLEM in operations["get"]["responses"]["default"]["content"], path
    parameters = {
        path: {one["name"] for one in operations["get"].get("parameters", [])}
        for path, operations in paths.items()
    }
    assert {"limit", "cursor"} <= parameters["/usage"] & parameters["/gpu/info"]
    assert {"start", "end"} <= parameters["/usage"] & parameters["/cost"] & parameters["/throughput"]


def test_openapi_shows_what_the_worked_example_answers(stage: Stage) -> None:
    thirty_seconds(stage)
    stage.send("token.usage.v1", b"{")
    for path, bounds in (
        ("/cost", EXAMPLE),
        ("/usage", EXAMPLE),
        ("/throughput", EXAMPLE),
        ("/rates", {"start": "2026-01-01T00:00:00Z"}),
        ("/gpu/info", {}),
        ("/dead-letters", {}),
    ):
        assert readable(stage.get(path, **bounds)) == readable(shown(stage, path)), path
    assert stage.client.get("/cost", params={"start": "yesterday"}).json() == shown(stage, "/cost", "default")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_openapi_shows_health(stage: Stage, path: str) -> None:
    assert shown(stage, path).keys() == stage.get(path).keys()
    assert shown(stage, path)["reasons"]


def shown(stage: Stage, path: str, status: str = "200") -> Any:
    """The example of the OpenAPI document."""
    document = stage.get("/openapi.json")
    (content,) = document["paths"][path]["get"]["responses"][status]["content"].values()
    schema = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
    return schema["examples"][0]


def readable(answer: Any) -> Any:
    """To five digits, as the examples have it."""
    return json.loads(json.dumps(answer), parse_float=lambda text: float(f"{float(text):.5g}"))
