"""The catalogue in the store: one document for each version, of which the newest counts."""

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

import msgspec
from gpu_token_contracts import COLLECTION_GPUS
from gpu_token_contracts.bounds import MAX_PRICE_PER_HOUR_USD
from pymongo import DESCENDING, WriteConcern
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.catalog import (
    Budget,
    Catalog,
    Deployment,
    Energy,
    Gpu,
    Lease,
    Price,
    Selector,
    Weights,
)
from gpu_token_processor.ledger.catalog_changes import Plan
from gpu_token_processor.ledger.catalog_fields import exact
from gpu_token_processor.ledger.catalog_file import gpu_name
from gpu_token_processor.ledger.catalog_plan import TAKEN_OVER, plan
from gpu_token_processor.ledger.exact import stored_us
from gpu_token_processor.store.collections import CATALOG

# As the data path writes.
_DURABLE = WriteConcern(w="majority", j=True)
# Who comes second finds the version made that it wanted to make, and looks again.
_ATTEMPTS = 10
_ROWS: Mapping[str, Any] = {
    "deployments": tuple[Deployment, ...],
    "prices": tuple[Price, ...],
    "leases": tuple[Lease, ...],
    "gpus": tuple[Gpu, ...],
    "weights": tuple[Weights, ...],
    "energy": tuple[Energy, ...],
    "budgets": tuple[Budget, ...],
}

# The catalogue that was read last, by its digest.
_last_read: dict[str, Catalog] = {}


def read_catalog(database: Database[Document]) -> Catalog:
    """The newest version, empty if there is none. Costs one small query while it does not change."""
    newest = _newest(database, {"digest": 1})
    if newest is None:
        return Catalog()
    catalog = _last_read.get(newest["digest"])
    if catalog is None:
        version = database[CATALOG].find_one({"_id": newest["_id"]})
        assert version is not None, "versions are never deleted"
        catalog = _catalog(version)
        _last_read.clear()
        _last_read[newest["digest"]] = catalog
    return catalog


def apply(database: Database[Document], wanted: Catalog, now: datetime, *, check: bool = False) -> Plan:
    """Keep what the file wants as a new version, unless it is what is kept. Raises CatalogError.

    A version is written at once or not at all, and never changed. With `check` nothing is written.
    """
    now_us = stored_us(now)
    versions = database.get_collection(CATALOG, write_concern=_DURABLE)
    for attempt in range(_ATTEMPTS):
        newest = _newest(database)
        if newest is None:
            planned = plan(Catalog(), wanted, now_us, _taken_over(database, wanted.aliases))
        else:
            planned = plan(_catalog(newest), wanted, now_us)
        if check or not planned.actions:
            break
        number = 1 if newest is None else newest["_id"] + 1
        try:
            versions.insert_one({"_id": number, "applied_at": now, **_document(planned.catalog)})
            break
        except DuplicateKeyError:
            if attempt == _ATTEMPTS - 1:
                raise
    return planned


def _newest(database: Database[Document], fields: Mapping[str, int] | None = None) -> Document | None:
    return database[CATALOG].find_one({}, fields, sort=[("_id", DESCENDING)])


def _document(catalog: Catalog) -> Document:
    rows = {section: msgspec.to_builtins(getattr(catalog, section), enc_hook=str) for section in _ROWS}
    # As pairs, since a name may hold what a field's name may not.
    return {"digest": catalog.digest, **rows, "aliases": [list(pair) for pair in catalog.aliases.items()]}


def _catalog(version: Document) -> Catalog:
    # A version of before has no budgets.
    rows = {
        section: msgspec.convert(version.get(section, ()), kind, dec_hook=lambda kind, value: kind(value))
        for section, kind in _ROWS.items()
    }
    return Catalog(**rows, aliases=dict(version["aliases"]))


def _taken_over(database: Database[Document], aliases: Mapping[str, str]) -> tuple[Price, ...]:
    """The prices that an earlier version of the role kept in a collection of their own."""
    prices: dict[str, Fraction] = {}
    for gpu in database[COLLECTION_GPUS].find({}, {"_id": 0, "name": 1, "price_per_hour_usd": 1}):
        name, usd_per_hour = gpu.get("name"), exact(gpu.get("price_per_hour_usd"))
        if not isinstance(name, str) or not name or usd_per_hour is None:
            continue
        if 0 <= usd_per_hour <= MAX_PRICE_PER_HOUR_USD:
            prices[gpu_name(name, aliases)] = usd_per_hour
    return tuple(
        Price(selector=Selector("gpu_name", name), usd_per_gpu_hour=usd_per_hour, source=TAKEN_OVER)
        for name, usd_per_hour in prices.items()
    )
