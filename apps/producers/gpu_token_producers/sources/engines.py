"""The counters of inference engines, under the names that their versions gave them.

In names, `_` stands for `:` too, which some proxies cannot pass on. Where several names of one
quantity are there, the first in the list counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

# Quantities of token usage, by the names of the contract's fields. Seconds are kept in microseconds.
PROMPT: Final = "prompt_tokens"
COMPLETION: Final = "completion_tokens"
CACHED: Final = "cached_prompt_tokens"
REQUESTS: Final = "requests"
PREFILL: Final = "prefill_seconds"
DECODE: Final = "decode_seconds"
SECONDS: Final = frozenset({PREFILL, DECODE})


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter, or the series of it whose labels have one of the given values."""

    name: str
    where: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def created(self) -> str:
        """The gauge that says when the counter began, as prometheus_client writes it."""
        return f"{self.name.removesuffix('_total').removesuffix('_sum')}_created"


@dataclass(frozen=True, slots=True)
class Engine:
    """What to read of one kind of engine."""

    counters: Mapping[str, tuple[Counter, ...]]
    # The label that names the model; None where a server has one model and does not say which.
    model_label: str | None
    # Each rank of these repeats the same tokens, so the lowest counts alone. All other series are added up.
    rank_labels: frozenset[str] = frozenset()
    # What its metrics' names begin with, if its counters are not there before the first request that they
    # count; None if all are there from the start.
    appears_late: str | None = None


def _sources(name: str, *sources: str) -> Counter:
    return Counter(name, MappingProxyType({"source": frozenset(sources)}))


def _modes(*modes: str) -> Counter:
    return Counter("sglang_realtime_tokens_total", MappingProxyType({"mode": frozenset(modes)}))


_VLLM = Engine(
    {
        PROMPT: (Counter("vllm_prompt_tokens_total"),),
        COMPLETION: (Counter("vllm_generation_tokens_total"),),
        # The prefix cache's own counter comes last: some versions count a request again when it is retried.
        # Its earlier name is left out: under gpu_prefix_cache_hits some versions count tokens, others blocks.
        CACHED: (
            _sources("vllm_prompt_tokens_by_source_total", "local_cache_hit", "external_kv_transfer"),
            Counter("vllm_prompt_tokens_cached_total"),
            Counter("vllm_prefix_cache_hits_total"),
        ),
        REQUESTS: (Counter("vllm_request_success_total"),),
        PREFILL: (Counter("vllm_request_prefill_time_seconds_sum"),),
        DECODE: (Counter("vllm_request_decode_time_seconds_sum"),),
    },
    model_label="model_name",
)

# Its counters of requests are those of the HTTP server. Without one (gRPC) there are only those of the
# scheduler, which count a prompt again that it had to give up, and not the first token of a completion.
_SGLANG = Engine(
    {
        PROMPT: (Counter("sglang_prompt_tokens_total"), _modes("prefill_compute", "prefill_cache")),
        COMPLETION: (Counter("sglang_generation_tokens_total"), _modes("decode")),
        CACHED: (Counter("sglang_cached_tokens_total"), _modes("prefill_cache")),
        REQUESTS: (Counter("sglang_num_requests_total"),),
    },
    model_label="model_name",
    rank_labels=frozenset({"tp_rank", "pp_rank", "moe_ep_rank"}),
    appears_late="sglang",
)

_TGI = Engine(
    {
        PROMPT: (Counter("tgi_request_input_length_sum"),),
        COMPLETION: (Counter("tgi_request_generated_tokens_sum"),),
        REQUESTS: (Counter("tgi_request_success"), Counter("tgi_request_success_total")),
    },
    model_label=None,
    appears_late="tgi",
)

# vLLM's names without their prefix.
_NIM = Engine(
    {
        PROMPT: (Counter("prompt_tokens_total"),),
        COMPLETION: (Counter("generation_tokens_total"),),
        CACHED: (Counter("prefix_cache_hits_total"),),
        REQUESTS: (Counter("request_success_total"), Counter("request_finish_total")),
        PREFILL: (Counter("request_prefill_time_seconds_sum"),),
        DECODE: (Counter("request_decode_time_seconds_sum"),),
    },
    model_label="model_name",
)

# Its prompt tokens are those that it had to compute: cached ones are not among them.
_LLAMACPP = Engine(
    {
        PROMPT: (Counter("llamacpp_prompt_tokens_total"),),
        COMPLETION: (Counter("llamacpp_tokens_predicted_total"),),
        PREFILL: (Counter("llamacpp_prompt_seconds_total"),),
        DECODE: (Counter("llamacpp_tokens_predicted_seconds_total"),),
    },
    model_label=None,
)

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {"vllm": _VLLM, "sglang": _SGLANG, "tgi": _TGI, "nim": _NIM, "llamacpp": _LLAMACPP}
)

PROCESS_START: Final = "process_start_time_seconds"


def plain(name: str) -> str:
    """A sample's name as the tables have it."""
    return name.replace(":", "_")


def wanted(engine: Engine) -> frozenset[str]:
    """The names of all samples that count, as they may stand in an exposition."""
    names = {PROCESS_START}
    for counters in engine.counters.values():
        for counter in counters:
            for name in (counter.name, counter.created):
                prefix, _, rest = name.partition("_")
                names |= {name, f"{prefix}:{rest}"}
    return frozenset(names)
