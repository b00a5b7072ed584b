"""sources.yml: each fault is one sentence that names the entry, the value and the remedy."""

from datetime import timedelta
from pathlib import Path

import pytest
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sources.settings import EngineSource, PrometheusSource, Sources, load_sources

ENGINE = '{name: chat, type: vllm, target: "http://10.0.0.5:8000/metrics"'


def load(tmp_path: Path, *entries: str, top: str = "", since: str | None = None) -> Sources:
    path = tmp_path / "sources.yml"
    path.write_text(f"{top}\nsources:\n" + "".join(f"  - {entry}\n" for entry in entries))
    return load_sources(path, since)


def fault(tmp_path: Path, *entries: str, top: str = "", since: str | None = None) -> str:
    with pytest.raises(ProducerError) as raised:
        load(tmp_path, *entries, top=top, since=since)
    return str(raised.value).removeprefix(f"{tmp_path}/sources.yml: ")


def engine(tmp_path: Path, entry: str) -> EngineSource:
    (source,) = load(tmp_path, entry).sources
    assert isinstance(source, EngineSource)
    return source


def test_an_engine(tmp_path: Path) -> None:
    source = engine(tmp_path, ENGINE + ", labels: {deployment: chat, gpu_uuids: [GPU-0]}}")
    assert (source.address, source.interval_seconds, source.timeout_seconds) == ("10.0.0.5:8000", 15, 5)
    assert source.labels.gpu_uuids == ("GPU-0",)


def test_an_address_has_the_port_of_its_scheme(tmp_path: Path) -> None:
    entry = '{name: a, type: vllm, target: "https://gpu-a.example/metrics"}'
    assert engine(tmp_path, entry).address == "gpu-a.example:443"


def test_an_engine_may_be_known_by_another_name(tmp_path: Path) -> None:
    assert engine(tmp_path, ENGINE + ', instance: "gpu-a:8000"}').address == "gpu-a:8000"


def prometheus(tmp_path: Path, more: str = "", since: str | None = None) -> PrometheusSource:
    entry = f'{{name: p, type: prometheus, target: "http://p:9090", reads: [vllm, dcgm]{more}}}'
    (source,) = load(tmp_path, entry, since=since).sources
    assert isinstance(source, PrometheusSource)
    return source


def test_since_of_the_command_is_that_of_servers_without_their_own(tmp_path: Path) -> None:
    assert prometheus(tmp_path).since is None
    assert prometheus(tmp_path, since="30d").since == timedelta(days=30)
    assert prometheus(tmp_path, ", since: 12h", since="30d").since == timedelta(hours=12)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            ENGINE.replace("vllm", "vlm") + "}",
            "chat.type is 'vlm': give one of dcgm, litellm, llamacpp, nim, nvidia_gpu_exporter, nvidia_smi, "
            "openai_usage, otlp, prometheus, sglang, tgi, vllm.",
        ),
        (
            ENGINE + ", intervall_seconds: 5}",
            "chat.intervall_seconds: there is no such key; check its spelling.",
        ),
        (
            ENGINE + ", interval_seconds: 0}",
            "chat.interval_seconds is 0: give at least 0.1.",
        ),
        (
            '{name: chat, type: vllm, target: "10.0.0.5:8000/metrics"}',
            "chat.target is '10.0.0.5:8000/metrics': ",
        ),
        (
            '{name: chat, type: vllm, target: "http://me:secret@10.0.0.5:8000/"}',
            "it has a user's name or password: put a token into a file and give token_file.",
        ),
        ("{name: chat, type: vllm}", "chat.target: it is not given."),
        ("{name: a, target: 'http://a:1'}", "a.type is not given: give one of dcgm, "),
        ("{type: vllm, target: 'http://a:1'}", "entry 1.name: it is not given."),
        (
            "{name: a b, type: litellm}",
            "a b.name is 'a b': begin with a letter or a digit, and use up to 64 letters, digits, ",
        ),
        (
            ENGINE + ", labels: {team: ''}}",
            "chat.labels.team is '': it is empty; give a text or leave it out.",
        ),
        (ENGINE + ", labels: {gpus: 8}}", "chat.labels.gpus: there is no such key; check its spelling."),
        (
            '{name: t, type: tgi, target: "http://a:1/metrics"}',
            "labels.model is not given: a server of type tgi does not say which model it has.",
        ),
        (
            '{name: p, type: prometheus, target: "http://p:9090", reads: [vllm], match: "{job=x}"}',
            'give the matchers without braces, such as job="vllm".',
        ),
        (
            '{name: p, type: prometheus, target: "http://p:9090", reads: [vllm], since: 30}',
            "p.since is 30: give a whole number with d, h, m or s, such as 30d.",
        ),
        (
            '{name: p, type: prometheus, target: "http://p:9090", reads: []}',
            "p.reads: it is empty; list at least one.",
        ),
        *(
            (
                f'{{name: p, type: prometheus, target: "http://p:9090", reads: [vllm], since: {span}}}',
                sentence,
            )
            for span, sentence in {
                "9999999999d": "p.since is '9999999999d': give at most 3650d.",
                "9" * 5000 + "s": "999…: give at most 3650d.",
                "3651d": "p.since is '3651d': give at most 3650d.",
                "'²d'": "p.since is '²d': give a whole number with d, h, m or s, such as 30d.",
                "'٣d'": "p.since is '٣d': give a whole number with d, h, m or s, such as 30d.",
            }.items()
        ),
        *(
            (
                f'{{name: p, type: prometheus, target: "http://p:9090", reads: [{kind}]}}',
                "p: labels.model is not",
            )
            for kind in ("tgi", "llamacpp")
        ),
        (
            "{name: g, type: dcgm, target: 'http://g:1', interval_seconds: 31}",
            "31: give at most 30: a reading",
        ),
        ("{name: g, type: nvidia_smi, interval_seconds: 60}", "60: give at most 30: a reading covers the 30"),
        ("{name: g, type: nvidia_smi, interval_seconds: .nan}", "g.interval_seconds is nan: give a number."),
        ("{name: g, type: nvidia_smi, interval_seconds: 15s}", "g.interval_seconds is '15s': give a number."),
        ("{name: g, type: nvidia_smi, token_file: /t}", "g.token_file: there is no such key"),
        (
            "{name: g, type: nvidia_smi, labels: {team: x}}",
            "g: labels.team does nothing here, since it is of tok",
        ),
        (
            ENGINE + ", labels: {price_per_hour_usd: 3}}",
            "chat: labels.price_per_hour_usd does nothing here, since it is of GPU readings: remove it, and ",
        ),
        (
            "{name: g, type: litellm, labels: {price_per_hour_usd: 3}}",
            "g: labels.price_per_hour_usd does noth",
        ),
        (
            '{name: p, type: prometheus, target: "http://p:9090", reads: [dcgm], instances: {a: {model: x}}}',
            "p: instances.a.model does nothing here, since it is of tokens: remove it, and give it at the ",
        ),
        (
            ENGINE + f", labels: {{tags: {{{', '.join(f't{number}: x' for number in range(17))}}}}}}}",
            "chat.labels.tags: it has too many; give at most 16.",
        ),
        (ENGINE + ", labels: [a]}", "chat.labels: give keys with values, such as {key: value}."),
        (
            ENGINE + ", labels: {gpu_uuids: GPU-0}}",
            "chat.labels.gpu_uuids is 'GPU-0': give a list, such as [a, b]",
        ),
        (ENGINE + ", labels: {models: {7: a}}}", "chat.labels.models.7 is 7: give a text, and put a number"),
        ("{name: a, type: }", "a.type is not given: give one of dcgm, "),
        ("{name: a, type: vllm, target: 'a:8000'}", "a.target is 'a:8000': begin with http:// or https://"),
        (
            "{name: a, type: vllm, target: 'http://a:99999'}",
            "it is no URL (invalid port number): begin with ",
        ),
        (
            '{name: p, type: prometheus, target: "http://p:9090", reads: [vlm]}',
            "p.reads.0 is 'vlm': give one of 'vllm', 'sglang', ",
        ),
        ("{name: g, type: litellm}", "but intake is not given: give intake.token_file"),
        ("just text", "entry 1 is 'just text': give a mapping with name, type and so on."),
    ],
)
def test_a_fault_is_one_sentence(tmp_path: Path, entry: str, sentence: str) -> None:
    said = fault(tmp_path, entry)
    assert sentence in said
    assert said.count("\n") == 0
    assert said.endswith(".")


def test_a_password_in_a_target_is_not_shown(tmp_path: Path) -> None:
    said = fault(tmp_path, '{name: chat, type: vllm, target: "http://me:s3cret@10.0.0.5:8000/"}')
    assert "s3cret" not in said


def test_two_faults_are_two_sentences(tmp_path: Path) -> None:
    said = fault(tmp_path, ENGINE + ", timeout_seconds: 0}", "{name: other, type: nvidia_smi, interval: 5}")
    assert [line.split(":")[1 if "/" in line else 0].strip() for line in said.splitlines()] == [
        "chat.timeout_seconds is 0",
        "other.interval",
    ]


def test_two_sources_may_not_read_the_same_engine(tmp_path: Path) -> None:
    other = ENGINE.replace("chat", "again").replace("10.0.0.5:8000/metrics", "10.0.0.5:8000/other")
    said = fault(tmp_path, ENGINE + "}", other + "}")
    assert "two sources read the engine at 10.0.0.5:8000: remove one" in said
    assert "If two engines answer there under two paths, give each its own instance." in said
    assert len(load(tmp_path, ENGINE + ", instance: a}", other + ", instance: b}").sources) == 2


DCGM = "{name: NAME, type: dcgm, target: 'http://g:9400/metrics'}"
SERVER = "{name: NAME, type: prometheus, target: 'http://p:9090', reads: [vllm, READS]MORE}"


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (DCGM, DCGM.replace("/metrics", "/other"), "two sources of type dcgm read g:9400: remove one."),
        (
            "{name: NAME, type: nvidia_smi}",
            "{name: NAME, type: nvidia_smi}",
            "one and other both read nvidia-smi",
        ),
        (
            SERVER.replace("READS", "nim").replace("MORE", ""),
            SERVER.replace("READS", "dcgm").replace("MORE", ""),
            "two sources read vllm of the Prometheus server http://p:9090/ with the same match: remove one, ",
        ),
    ],
)
def test_two_sources_may_not_read_the_same(tmp_path: Path, one: str, other: str, sentence: str) -> None:
    said = fault(tmp_path, one.replace("NAME", "one"), other.replace("NAME", "other"))
    assert sentence in said
    assert said.count("\n") == 0


def test_two_sources_may_read_parts_of_one_server(tmp_path: Path) -> None:
    parts = [
        SERVER.replace("NAME", job).replace(", READS", "").replace("MORE", f", match: 'job=\"{job}\"'")
        for job in ("a", "b")
    ]
    assert len(load(tmp_path, *parts).sources) == 2


@pytest.mark.parametrize(
    ("content", "line", "key"),
    [
        (f"sources:\n  - {ENGINE}}}\nsources:\n  - {ENGINE}}}\n", 3, "sources"),
        (f"sources:\n  - {ENGINE}, name: other}}\n", 2, "name"),
        (f"sources:\n  - {ENGINE}, labels: {{team: a, team: b}}}}\n", 2, "team"),
    ],
)
def test_a_key_stands_once(tmp_path: Path, content: str, line: int, key: str) -> None:
    path = tmp_path / "sources.yml"
    path.write_text(content)
    with pytest.raises(ProducerError) as raised:
        load_sources(path)
    assert str(raised.value) == (f"{path}: line {line}: the key {key} stands twice in one place: remove one.")


def test_two_sources_may_not_have_one_name(tmp_path: Path) -> None:
    said = fault(tmp_path, ENGINE + "}", "{name: chat, type: nvidia_smi}")
    assert "two sources are named chat" in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read (No such file or directory): give the path of sources.yml."),
        (b"sources: [", "is not YAML ("),
        (b"\xff\xfe\x00", "is not YAML ("),
        (b"", "has no key sources: list at least one under it."),
        (b"sources: []", "sources: it is empty; list at least one."),
        (b"- a", "has no key sources"),
        (b"sources:", "sources.yml: sources: give a list, such as [a, b]."),
        (b"producers_sources: []", "sources.yml: producers_sources: in this file it is called sources."),
        (b"sources: [{name: 2026-13-01, type: 2026-13-01}]", "is not YAML ("),
        (b"[" * 5000, "is not YAML (it is nested too deeply): correct it."),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "sources.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProducerError) as raised:
        load_sources(path)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("tag", ["$a", '"a\\0b"'])
def test_a_tag_that_no_event_may_have_is_refused(tmp_path: Path, tag: str) -> None:
    said = fault(tmp_path, ENGINE + f", labels: {{tags: {{{tag}: x}}}}}}")
    assert "chat.labels: field tags has the key" in said
    assert "give it a name without NUL and without $ at its start" in said


def test_labels_that_would_fill_an_event_are_refused(tmp_path: Path) -> None:
    uuids = ", ".join(f"GPU-{number:0200}" for number in range(400))
    assert "name fewer GPUs, or shorten the tags" in fault(
        tmp_path, ENGINE + f", labels: {{gpu_uuids: [{uuids}]}}}}"
    )
