"""Records what vLLM's own PrometheusStatLogger shows, before and after known work.

    python record_vllm.py FOLDER

Needs the package vllm, no GPU. Writes vllm-VERSION.before.prom and vllm-VERSION.after.prom.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import vllm
from prometheus_client import REGISTRY, generate_latest
from vllm.v1.engine import FinishReason
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import (
    FinishedRequestStats,
    IterationStats,
    PrefillStats,
    PrefixCacheStats,
    SchedulerStats,
)

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def config() -> SimpleNamespace:
    """What the logger reads of vLLM's configuration."""
    return SimpleNamespace(
        observability_config=SimpleNamespace(
            show_hidden_metrics=False,
            kv_cache_metrics=False,
            custom_histogram_buckets=None,
            enable_mfu_metrics=False,
        ),
        model_config=SimpleNamespace(served_model_name=MODEL, max_model_len=8192, is_diffusion=False),
        speculative_config=None,
        kv_transfer_config=None,
        ec_transfer_config=None,
        lora_config=None,
        watermark_config=None,
        cache_config=SimpleNamespace(metrics_info=lambda: {"block_size": "16", "num_gpu_blocks": "2048"}),
        parallel_config=SimpleNamespace(data_parallel_size=2),
    )


def work(logger: PrometheusStatLogger, engine: int, requests: int) -> None:
    """Requests of 1,000 prompt tokens, 250 of them cached and 50 fetched, and of 100 completion tokens."""
    for number in range(requests):
        stats = IterationStats()
        prefill = PrefillStats()
        prefill.set(num_prompt_tokens=1000, num_local_cached_tokens=250, num_external_cached_tokens=50)
        stats.prompt_token_stats.update_from_output(prefill)
        stats.num_generation_tokens = 100
        stats.finished_requests.append(
            FinishedRequestStats(
                finish_reason=FinishReason.STOP if number % 2 else FinishReason.LENGTH,
                e2e_latency=2.75,
                num_prompt_tokens=1000,
                num_generation_tokens=100,
                queued_time=0.25,
                prefill_time=0.5,
                inference_time=2.5,
                decode_time=2.0,
                num_cached_tokens=300,
            )
        )
        # The scheduler counts a request that it has to start again twice.
        scheduler = SchedulerStats(prefix_cache_stats=PrefixCacheStats(requests=2, queries=2000, hits=500))
        logger.record(scheduler, stats, engine_idx=engine)


def main(folder: Path) -> None:
    """Record both files."""
    logger = PrometheusStatLogger(config(), [0, 1])
    logger.log_engine_initialized()
    work(logger, 0, 3)
    (folder / f"vllm-{vllm.__version__}.before.prom").write_bytes(generate_latest(REGISTRY))
    work(logger, 0, 4)
    work(logger, 1, 2)
    (folder / f"vllm-{vllm.__version__}.after.prom").write_bytes(generate_latest(REGISTRY))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
