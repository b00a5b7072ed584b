"""What each engine shows, under the names of its versions, and what is made of it."""

from pathlib import Path

import pytest
from gpu_token_producers.sources.counters import Look, advance, look
from gpu_token_producers.sources.engines import (
    CACHED,
    COMPLETION,
    DECODE,
    ENGINES,
    PREFILL,
    PROMPT,
    REQUESTS,
    wanted,
)
from gpu_token_producers.sources.exposition import parse

DATA = Path(__file__).parent / "data" / "engines"
SECOND = 1_000_000


def seen(kind: str, file: str, *, at_us: int = 0, model: str | None = None, colon: str = ":") -> Look:
    """A file as a look; `colon` is what a proxy has made of the names' colons."""
    text = (DATA / file).read_text().replace(f"{kind}:", f"{kind}{colon}")
    return look(ENGINES[kind], parse(text, wanted(ENGINES[kind])), at_us=at_us, model=model)


def totals(kind: str, file: str, **options: str) -> dict[str, int]:
    """All that a file shows, as of an engine that began a moment before."""
    shown = seen(kind, file, at_us=20 * SECOND, **options)  # type: ignore[arg-type]
    # TGI and SGLang begin without any counter; the others are made to.
    (interval,) = advance(ENGINES[kind], Look(10 * SECOND, ()), shown).intervals
    return interval.amounts


def test_vllm_as_recorded_from_its_own_code() -> None:
    before = seen("vllm", "vllm-0.33.0.before.prom", at_us=10 * SECOND)
    after = seen("vllm", "vllm-0.33.0.after.prom", at_us=20 * SECOND)
    step = advance(ENGINES["vllm"], before, after)
    (interval,) = step.intervals
    assert interval.model == "meta-llama/Llama-3.1-8B-Instruct"
    assert (interval.from_us, interval.to_us, interval.resets) == (10 * SECOND, 20 * SECOND, 0)
    # Six requests, on both engines; the prefix cache's own counter says 3,000.
    assert interval.amounts == {
        PROMPT: 6000,
        COMPLETION: 600,
        CACHED: 1800,
        REQUESTS: 6,
        PREFILL: 3 * SECOND,
        DECODE: 12 * SECOND,
    }
    assert step.remarks == []


def test_vllm_says_when_its_counters_began() -> None:
    shown = seen("vllm", "vllm-0.33.0.before.prom")
    assert shown.process_start is not None
    assert all(each.created is not None and each.created > shown.process_start for each in shown.series)


def test_a_counter_that_ends_in_total_and_is_a_histogram_is_not_read() -> None:
    assert totals("vllm", "vllm-0.8.prom")[PROMPT] == 5000


def test_vllm_of_earlier_names_does_not_say_how_many_tokens_were_cached() -> None:
    # gpu_prefix_cache_hits counts blocks in some versions and tokens in others.
    assert totals("vllm", "vllm-0.8.prom") == {
        PROMPT: 5000,
        COMPLETION: 800,
        REQUESTS: 8,
        PREFILL: 1_250_000,
        DECODE: 16_500_000,
    }


@pytest.mark.parametrize(
    ("kind", "file"), [("vllm", "vllm-0.33.0.after.prom"), ("sglang", "sglang-0.5.prom")]
)
def test_a_proxy_may_write_the_colon_of_a_name_as_an_underscore(kind: str, file: str) -> None:
    assert seen(kind, file, colon="_") == seen(kind, file)


def test_sglang_counts_the_requests_of_its_server_not_each_rank() -> None:
    assert totals("sglang", "sglang-0.5.prom") == {
        PROMPT: 4000,
        COMPLETION: 700,
        CACHED: 1000,
        REQUESTS: 4,
    }


def test_sglang_without_its_server_sums_data_parallel_ranks_and_no_others() -> None:
    assert totals("sglang", "sglang-0.5-grpc.prom") == {
        PROMPT: 4000,
        COMPLETION: 500,
        CACHED: 500,
        REQUESTS: 0,
    }


def test_tgi() -> None:
    assert totals("tgi", "tgi-3.prom", model="m") == {PROMPT: 2048, COMPLETION: 400, REQUESTS: 4}


def test_nim() -> None:
    assert totals("nim", "nim-1.8.prom") == {PROMPT: 1200, COMPLETION: 340, REQUESTS: 6}


def test_llamacpp() -> None:
    assert totals("llamacpp", "llamacpp.prom", model="m") == {
        PROMPT: 6886,
        COMPLETION: 3469,
        REQUESTS: 0,
        PREFILL: 2_903_630_000,
        DECODE: 3_544_270_000,
    }


@pytest.mark.parametrize("kind", ["tgi", "llamacpp"])
def test_an_engine_that_does_not_name_its_model_is_counted_under_the_given_one(kind: str) -> None:
    file = {"tgi": "tgi-3.prom", "llamacpp": "llamacpp.prom"}[kind]
    assert seen(kind, file).series == ()
    assert {each.model for each in seen(kind, file, model="given").series} == {"given"}


def test_the_given_model_wins_over_the_engines_own() -> None:
    shown = seen("vllm", "vllm-0.8.prom", model="chat")
    assert {each.model for each in shown.series} == {"chat"}
