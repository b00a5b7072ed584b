"""What an engine did between two looks, as an event."""

from gpu_token_contracts import TokenUsage, bounds, moment

from gpu_token_producers.ids import digest
from gpu_token_producers.sources.counters import Interval
from gpu_token_producers.sources.engines import CACHED, COMPLETION, DECODE, PREFILL, PROMPT, REQUESTS
from gpu_token_producers.sources.labels import Labels

_MICRO = 1_000_000
_MAX_SECONDS = bounds.MAX_INTERVAL_SECONDS
_MAX_TOKENS = bounds.MAX_TOKENS


def interval_usage(interval: Interval, address: str, labels: Labels, scheme: str = "http") -> TokenUsage:
    """The event of one interval at an engine's address, host:port.

    Its id follows from the address, the engine's life and the two moments, whoever read the counters.
    """
    model, from_us, to_us, amounts, resets, epoch = interval
    prefill, decode = amounts.get(PREFILL), amounts.get(DECODE)
    if max(prefill or 0, decode or 0) > _MAX_SECONDS * _MICRO:
        # Of many requests at once over a long time; one without the other would say something else.
        prefill = decode = None
    return TokenUsage(
        ts=moment(to_us),
        event_id=digest("interval", address, model, epoch, from_us, to_us),
        host=labels.host,
        model=labels.models.get(model, model),
        prompt_tokens=min(amounts[PROMPT], _MAX_TOKENS),
        completion_tokens=min(amounts[COMPLETION], _MAX_TOKENS),
        cached_prompt_tokens=None if CACHED not in amounts else min(amounts[CACHED], _MAX_TOKENS),
        requests=min(amounts[REQUESTS], _MAX_TOKENS),
        interval_seconds=min((to_us - from_us) / _MICRO, _MAX_SECONDS),
        prefill_seconds=None if prefill is None else prefill / _MICRO,
        decode_seconds=None if decode is None else decode / _MICRO,
        deployment=labels.deployment,
        endpoint=f"{scheme}://{address}"[: bounds.MAX_TEXT_LENGTH],
        gpu_uuids=labels.gpu_uuids,
        tenant=labels.tenant,
        team=labels.team,
        workload=labels.workload,
        tags=labels.tags,
        measured_by="engine",
        counter_resets=resets or None,
    )
