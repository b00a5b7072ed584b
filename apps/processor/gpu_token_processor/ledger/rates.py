"""What a token of each class has cost, by model, as LiteLLM takes prices."""

from collections import defaultdict

from gpu_token_processor.api.models import ModelRates, RatesAnswer
from gpu_token_processor.ledger.exact import PICO_PER_USD, ratio
from gpu_token_processor.ledger.ledger import Ledger


def rates_answer(ledger: Ledger) -> RatesAnswer:
    """Over all hours of the ledger. Unpriced tokens count for nothing, nor does idle time."""
    tokens: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    cost_pico: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for share, item in ledger.shares():
        counted, cost = tokens[share.item_id.model], cost_pico[share.item_id.model]
        if share.priced:
            for at in range(len(counted)):
                counted[at] += item.tokens[at]
                cost[at] += item.cost_pico[at]
    return RatesAnswer({model: _rates(tokens[model], cost_pico[model]) for model in sorted(tokens)})


def _rates(tokens: list[int], cost_pico: list[int]) -> ModelRates:
    uncached, cached, completion = (
        ratio(cost, count * PICO_PER_USD) if count else None
        for count, cost in zip(tokens, cost_pico, strict=True)
    )
    return ModelRates(
        input_cost_per_token=uncached,
        output_cost_per_token=completion,
        cache_read_input_token_cost=cached,
    )
