"""Charges in the columns of FOCUS 1.2: all that are mandatory, and others that have something to say."""

import json
from collections.abc import Iterator
from decimal import Decimal

from gpu_token_processor.exports.bills import Bill
from gpu_token_processor.exports.charges import FLEET_IDLE, LOADED_IDLE, UNREPORTED, Charge, ChargeKey
from gpu_token_processor.exports.months import Month, written_us
from gpu_token_processor.ledger.exact import US_PER_DAY, seconds, usd
from gpu_token_processor.ledger.written import csv_text

# Who provides, publishes and bills what you run yourself.
_PROVIDER = "Self-hosted"
_ACCOUNT_ID = "self-hosted"
_TAG_PREFIX = "gpu-token-cost/"
_TOKENS = "Tokens"
_GPU_SECONDS = "GPU-Seconds"

Value = str | Decimal | int | None

_METERS = {
    "uncached_prompt": "Uncached prompt tokens",
    "cached_prompt": "Cached prompt tokens",
    "completion": "Completion tokens",
    FLEET_IDLE: "Idle: GPUs without tokens",
    LOADED_IDLE: "Idle: deployments without tokens",
    UNREPORTED: "Leased, not reported",
}

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)


def focus_header() -> str:
    """The line with the names of the columns."""
    return csv_text([COLUMNS])


def focus_rows(month: Month, bill: Bill) -> Iterator[dict[str, Value]]:
    """One row for each charge, by column; None is FOCUS's null."""
    start_us = bill.day * US_PER_DAY
    shared: dict[str, Value] = {
        "BillingAccountId": _ACCOUNT_ID,
        "BillingAccountName": _PROVIDER,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": written_us(month.end_us),
        "BillingPeriodStart": written_us(month.start_us),
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if bill.is_correction else None,
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": written_us(start_us + US_PER_DAY),
        "ChargePeriodStart": written_us(start_us),
        "InvoiceIssuerName": _PROVIDER,
        "ProviderName": _PROVIDER,
        "PublisherName": _PROVIDER,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "LLM inference",
        "ServiceSubcategory": "Generative AI",
    }
    for key, charge in bill.charges.items():
        yield shared | _of_charge(key, charge, is_correction=bill.is_correction)


def focus_text(month: Month, bill: Bill) -> str:
    """The same as lines of CSV."""
    return csv_text([row[name] for name in COLUMNS] for row in focus_rows(month, bill))


def _of_charge(key: ChargeKey, charge: Charge, *, is_correction: bool) -> dict[str, Value]:
    is_used = key.model is not None
    quantity = charge.quantity if is_used else seconds(charge.quantity)
    unit = _TOKENS if is_used else _GPU_SECONDS
    cost = usd(charge.cost_pico)
    meter = _METERS[key.meter]
    described = f"{meter} of {key.model}" if is_used else meter
    tags = {_TAG_PREFIX + name: value for name, value in key._asdict().items() if value is not None}
    return {
        "BilledCost": cost,
        "ChargeDescription": f"Correction: {described}" if is_correction else described,
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ResourceId": key.model,
        "ResourceName": key.model,
        "ResourceType": "Model" if is_used else None,
        "SkuId": f"{key.model}/{key.meter}" if is_used else key.meter,
        "SkuMeter": meter,
        "SubAccountId": key.team,
        "SubAccountName": key.team,
        "Tags": json.dumps(tags, ensure_ascii=False, separators=(",", ":"), sort_keys=True),
    }
