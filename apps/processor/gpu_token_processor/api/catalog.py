"""What the catalogue says: who serves what, at which price, rented from when to when."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import pymongo
from fastapi import APIRouter, Query
from gpu_token_contracts import moment

from gpu_token_processor.api.catalog_models import (
    DeploymentRow,
    DeploymentsAnswer,
    GpuReference,
    LeaseRow,
    LeasesAnswer,
    PriceRow,
    PricesAnswer,
    SelectorOf,
)
from gpu_token_processor.api.deadlines import STORE_SECONDS
from gpu_token_processor.api.parameters import CatalogParameters
from gpu_token_processor.ledger.catalog import Catalog, Dated, Deployment, Lease, Price, Selector
from gpu_token_processor.ledger.catalog_rules import Span, label
from gpu_token_processor.ledger.exact import stored_us

R = TypeVar("R", bound=Dated)

Asked = Annotated[CatalogParameters, Query()]


def catalog_routes(read: Callable[[], Catalog]) -> APIRouter:
    """Routes on the newest version; `read` raises pymongo's errors when MongoDB does not answer."""
    router = APIRouter(tags=["catalog"])

    def catalog() -> Catalog:
        with pymongo.timeout(STORE_SECONDS):
            return read()

    # Not async: each request runs in its own thread while MongoDB answers.
    @router.get("/deployments")
    def deployments(query: Asked) -> DeploymentsAnswer:
        """Models and the GPUs that serve them, as CATALOG.yml and its history have them."""
        known = catalog()
        rows = _chosen(known.deployments, query)
        return DeploymentsAnswer(version=known.version, items=[_deployment(row) for row in rows])

    @router.get("/prices")
    def prices(query: Asked) -> PricesAnswer:
        """What an hour of a GPU costs where its readings do not say so."""
        known = catalog()
        return PricesAnswer(
            version=known.version, items=[_price(row) for row in _chosen(known.prices, query)]
        )

    @router.get("/leases")
    def leases(query: Asked) -> LeasesAnswer:
        """GPUs that are paid for, whether they report or not."""
        known = catalog()
        return LeasesAnswer(
            version=known.version, items=[_lease(row) for row in _chosen(known.leases, query)]
        )

    return router


def _chosen(rows: Sequence[R], query: CatalogParameters) -> list[R]:
    """Those that hold at the time that is asked for, in a stable order."""
    at_us = None if query.at is None else stored_us(query.at)
    return sorted(
        (row for row in rows if at_us is None or row.holds(at_us)), key=lambda row: (label(row), Span.of(row))
    )


def _deployment(row: Deployment) -> DeploymentRow:
    return DeploymentRow(
        id=row.id,
        models=list(row.models),
        endpoints=list(row.endpoints),
        gpus=[GpuReference(**gpu._asdict()) for gpu in row.gpus],
        role=row.role,
        **_dates(row),
    )


def _price(row: Price) -> PriceRow:
    return PriceRow(
        selector=_selector(row.selector),
        usd_per_gpu_hour=float(row.usd_per_gpu_hour),
        market=row.market,
        zone=row.zone,
        source=row.source,
        **_dates(row),
    )


def _lease(row: Lease) -> LeaseRow:
    return LeaseRow(
        selector=_selector(row.selector),
        gpus=row.gpus,
        instance_type=row.instance_type,
        zone=row.zone,
        market=row.market,
        **_dates(row),
    )


def _selector(selector: Selector) -> SelectorOf:
    return SelectorOf(kind=selector.kind, value=selector.value)


def _dates(row: Dated) -> dict[str, Any]:
    begin, end = row.valid_from_us, row.valid_to_us
    return {
        "valid_from": None if begin is None else moment(begin),
        "valid_to": None if end is None else moment(end),
    }
