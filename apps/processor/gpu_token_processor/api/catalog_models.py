"""The shapes of answers about the catalogue. A row holds from `valid_from`, up to but without `valid_to`."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from gpu_token_processor.api.models import Answer
from gpu_token_processor.ledger.catalog import Market, Role


class DatedRow(Answer):
    """When a row holds."""

    valid_from: datetime | None = Field(description="null: from the beginning")
    valid_to: datetime | None = Field(description="null: until it is changed")


class GpuReference(Answer):
    """A GPU by its uuid, or by host and index."""

    uuid: str | None
    host: str | None
    gpu_index: int | None


class DeploymentRow(DatedRow):
    """Models, and the GPUs that serve them together."""

    id: str
    models: list[str]
    endpoints: list[str]
    gpus: list[GpuReference]
    role: Role


class SelectorOf(Answer):
    """What a row is for."""

    kind: Literal["uuid", "host", "instance_type", "gpu_name"]
    value: str


class PriceRow(DatedRow):
    """What an hour of one GPU costs; an instance's price is divided by its GPUs."""

    selector: SelectorOf
    usd_per_gpu_hour: float
    market: Market
    zone: str | None
    source: str | None


class LeaseRow(DatedRow):
    """GPUs that are paid for, whether they report or not."""

    selector: SelectorOf
    gpus: int
    instance_type: str | None
    zone: str | None
    market: Market


class CatalogAnswer(Answer):
    """Rows of one version of the catalogue."""

    version: str = Field(description="two answers with the same version used the same catalogue")


class DeploymentsAnswer(CatalogAnswer):
    """Who serves what on which GPUs."""

    items: list[DeploymentRow] = Field(description="by id, then by time")


class PricesAnswer(CatalogAnswer):
    """What GPUs cost."""

    items: list[PriceRow] = Field(description="by selector, market and zone, then by time")


class LeasesAnswer(CatalogAnswer):
    """What is rented, from when to when."""

    items: list[LeaseRow] = Field(description="by selector, then by time")
