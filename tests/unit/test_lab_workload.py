"""The lab's workload: the product reads its engines, GPU exporter and gateway as it reads real ones."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from gpu_token_processor.ledger.catalog_file import load_catalog
from gpu_token_producers.intake.litellm import read_litellm
from gpu_token_producers.sources.counters import Look, advance, look
from gpu_token_producers.sources.engines import ENGINES, wanted
from gpu_token_producers.sources.exposition import parse
from gpu_token_producers.sources.gpus import dcgm
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.sources.settings import load_sources

from fleet.model import load
from lab import handover
from lab.images import ImageSet
from lab.ports import free_port
from lab.settings import from_environment
from lab.ssh import Keys
from lab.workload import exporter, plan, process
from lab.workload.engine import Engine
from lab.workload.exporter import Exporter
from lab.workload.gateway import Gateway, record

ROOT = Path(__file__).parents[2]
FLEET = load(ROOT / "fleet.yml")
ADDRESS = IPv4Address("10.0.1.1")


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def engine() -> Engine:
    found = plan.ENGINES[0]
    engine = Engine(
        plan.Engine(found.model, free_port(), found.gpus, found.prompt_seconds, found.answer_seconds)
    )
    engine.listen("127.0.0.1")
    return engine


def test_the_collector_counts_what_an_engine_served(engine: Engine) -> None:
    vllm = ENGINES["vllm"]

    def seen(at_us: int) -> Look:
        return look(vllm, parse(read(engine.plan.port), wanted(vllm)), at_us=at_us)

    before = seen(1_000_000)
    engine.serve(1000, 400, 50)
    engine.serve(200, 0, 10)
    (interval,) = advance(vllm, before, seen(2_000_000)).intervals
    assert interval.model == engine.plan.model
    amounts = interval.amounts
    assert (amounts["prompt_tokens"], amounts["cached_prompt_tokens"]) == (1200, 400)
    assert (amounts["completion_tokens"], amounts["requests"]) == (60, 2)
    assert amounts["decode_seconds"] == round(60 * engine.plan.answer_seconds * 1_000_000)


def test_each_gpu_has_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(exporter.plan, "EXPORTER_PORT", port)
    shown = Exporter()
    for one in plan.ENGINES:
        shown.show(one.gpus, 0.5)
    shown.listen("127.0.0.1")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    readings = dcgm.dcgm_readings(
        parse(read(port), dcgm.WANTED), "10.0.1.1:19400", at, Labels(host=plan.HOST)
    )
    gpus = [gpu for one in plan.ENGINES for gpu in one.gpus]
    assert {reading.uuid for reading in readings} == {gpu.uuid for gpu in gpus}
    assert {reading.utilization for reading in readings} == {0.5}
    assert all(reading.power_w and reading.mem_used_mb for reading in readings)


def test_the_intake_reads_the_gateways_records_and_keeps_no_text() -> None:
    call = record(
        model="m",
        team="red",
        api_base="http://e:1",
        prompt=10,
        cached=4,
        completion=2,
        ended=1.7e9,
        seconds=1.5,
    )
    (event,) = read_litellm(json.dumps([call]).encode(), Labels(), 10).events
    assert (event.team, event.prompt_tokens, event.cached_prompt_tokens, event.endpoint) == (
        "red",
        10,
        4,
        "http://e:1",
    )
    assert "invented" not in repr(event)


def test_the_gateway_keeps_what_nobody_confirmed() -> None:
    gateway = Gateway(lambda: (f"http://127.0.0.1:{free_port()}/v1/litellm", "token"))
    gateway.add({"id": "1"})
    gateway.flush()
    gateway.flush()
    assert gateway._waiting == [{"id": "1"}]


def test_the_lab_names_sources_that_the_collector_takes_and_the_catalogue_knows(tmp_path: Path) -> None:
    settings = from_environment({}, FLEET, tmp_path)
    settings.state.mkdir(parents=True)
    images = ImageSet("built", *(["x"] * (len(ImageSet.__dataclass_fields__) - 1)))
    assert handover.content(settings, Keys(settings.state), images)["sources"] == []
    assert process.beside(FLEET, settings) is FLEET
    process.want(settings)
    sources = handover.content(settings, Keys(settings.state), images)["sources"]
    assert sources == plan.sources(settings.host_address)
    assert settings.host_address in process.beside(FLEET, settings).outside[plan.GATEWAYS][-1]
    file = tmp_path / "sources.yml"
    file.write_text(yaml.safe_dump({"intake": {"token_file": "/run/token"}, "sources": sources}))
    assert len(load_sources(file).sources) == len(plan.ENGINES) + 2
    catalog = load_catalog(ROOT / "catalog.yml")
    served = {model: {gpu.uuid for gpu in one.gpus} for one in plan.ENGINES for model in (one.model,)}
    named = {model: set(row.gpus) for row in catalog.deployments for model in row.models}
    assert {model: {str(gpu) for gpu in named[model]} for model in served} == served
