"""Looks up what the catalogue says of a GPU, a model or an endpoint at a moment."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import chain
from typing import NamedTuple

from gpu_token_processor.ledger.catalog import (
    Catalog,
    Dated,
    Deployment,
    Gpu,
    Lease,
    Price,
    Selector,
    Weights,
)
from gpu_token_processor.ledger.catalog_file import gpu_name
from gpu_token_processor.ledger.exact import EVER_US, NEVER_US

# As the API has always called a price that is declared.
CATALOG_PRICE = "inventory"
DEFAULT_PRICE = "default"


class Seen(NamedTuple):
    """A GPU as its readings describe it."""

    uuid: str | None
    host: str | None
    gpu_index: int | None
    name: str | None
    gpu_instance: str | None


class Terms(NamedTuple):
    """Whose a GPU is, and what an hour of it costs, over one piece of time."""

    deployment: str | None
    usd_per_hour: Fraction
    source: str
    # Of a card; 1 for a whole one.
    share: Fraction
    # The uuid of the card of which it is a slice, or which has slices; None if the catalogue knows no slices.
    card: str | None


class Book:
    """A catalogue, with the price of what it does not list.

    Time is cut into pieces at every date of every row: within a piece no answer of the book changes.
    """

    def __init__(self, catalog: Catalog, default_usd_per_hour: Fraction) -> None:
        self.catalog = catalog
        self.default_usd_per_hour = default_usd_per_hour
        rows: Iterable[Dated] = chain(
            catalog.deployments, catalog.prices, catalog.leases, catalog.gpus, catalog.weights, catalog.energy
        )
        dates = {date for row in rows for date in (row.valid_from_us, row.valid_to_us) if date is not None}
        self._cuts = [EVER_US, *sorted(dates), NEVER_US]
        self.identify = cache(self._identify)
        self.terms = cache(self._terms)
        self.serving = cache(self._serving)
        self.deployment_of = cache(self._deployment_of)

    def __reduce__(self) -> tuple[type["Book"], tuple[Catalog, Fraction]]:
        return Book, (self.catalog, self.default_usd_per_hour)

    def piece(self, at_us: int) -> int:
        """The number of the piece of time that holds this moment."""
        return bisect_right(self._cuts, at_us) - 1

    def bounds(self, piece: int) -> tuple[int, int]:
        """When the piece begins and ends."""
        return self._cuts[piece], self._cuts[piece + 1]

    def pieces(self, start_us: int, end_us: int) -> Iterable[tuple[int, int, int]]:
        """The pieces of a range, each with its beginning and end within the range."""
        piece = self.piece(start_us)
        while start_us < end_us:
            upto = min(end_us, self._cuts[piece + 1])
            yield piece, start_us, upto
            start_us, piece = upto, piece + 1

    def cuts(self, after_us: int, before_us: int) -> list[int]:
        """The dates between two moments at which a piece begins."""
        return self._cuts[bisect_right(self._cuts, after_us) : bisect_left(self._cuts, before_us)]

    def _identify(self, seen: Seen, piece: int) -> Seen:
        """The GPU with what the catalogue knows of it and the reading does not say.

        One that is known only by its place gets the uuid of the place, or else its name, and one that is
        known only by its uuid gets the uuid's place and name.
        """
        for gpu in self._gpus(self._moment(piece)):
            if seen.uuid is None:
                if gpu.gpu_index is not None and (gpu.host, gpu.gpu_index) == (seen.host, seen.gpu_index):
                    return seen._replace(uuid=gpu.uuid, name=seen.name or gpu.name)
            elif gpu.uuid == seen.uuid:
                if seen.host is None:
                    index = gpu.gpu_index if seen.gpu_index is None else seen.gpu_index
                    seen = seen._replace(host=gpu.host, gpu_index=index)
                return seen._replace(name=seen.name or gpu.name)
        return seen

    def weights(self, at_us: int) -> Weights:
        """What a token of each class weighs."""
        return next((row for row in self.catalog.weights if row.holds(at_us)), Weights())

    def usd_per_kwh(self, piece: int) -> Fraction | None:
        """The price of energy; None if the catalogue has none."""
        at_us = self._moment(piece)
        return next((row.usd_per_kwh for row in self.catalog.energy if row.holds(at_us)), None)

    def lease_price(self, lease: Lease, at_us: int) -> tuple[Fraction, str]:
        """What an hour of a leased GPU costs that does not report, and where that comes from."""
        kind, value = lease.selector
        known = sorted(
            (gpu for gpu in self._gpus(at_us) if value == (gpu.uuid if kind == "uuid" else gpu.host)),
            key=lambda gpu: gpu.uuid or "",
        )
        host = value if kind == "host" else known[0].host if known else None
        seen = Seen(value if kind == "uuid" else None, host, None, known[0].name if known else None, None)
        usd_per_hour, source = self._price(seen, at_us)
        slice_share = next((gpu.share for gpu in known if kind == "uuid" and gpu.card), Fraction(1))
        return usd_per_hour * slice_share, source

    def _gpus(self, at_us: int) -> list[Gpu]:
        return [gpu for gpu in self.catalog.gpus if gpu.holds(at_us)]

    def _moment(self, piece: int) -> int:
        return self._cuts[piece]

    def _serving(self, kind: str, name: str, piece: int) -> tuple[Deployment, ...]:
        """The deployments that list the model, or the endpoint."""
        at_us = self._moment(piece)
        return tuple(
            row
            for row in self.catalog.deployments
            if name in (row.models if kind == "model" else row.endpoints) and row.holds(at_us)
        )

    def _deployment_of(
        self, uuid: str | None, host: str | None, gpu_index: int | None, piece: int
    ) -> str | None:
        """By uuid; by place only where no deployment lists the uuid."""
        at_us = self._moment(piece)
        listed = [(gpu, row.id) for row in self.catalog.deployments if row.holds(at_us) for gpu in row.gpus]
        for gpu, deployment in listed:
            if gpu.uuid is not None and gpu.uuid == uuid:
                return deployment
        for gpu, deployment in listed:
            if gpu.uuid is None and gpu_index is not None and (gpu.host, gpu.gpu_index) == (host, gpu_index):
                return deployment
        return None

    def _terms(self, seen: Seen, piece: int) -> Terms:
        at_us = self._moment(piece)
        usd_per_hour, source = self._price(seen, at_us)
        share = self._share(seen, at_us)
        deployment = self.deployment_of(seen.uuid, seen.host, seen.gpu_index, piece)
        return Terms(deployment, usd_per_hour * share, source, share, self._card(seen, at_us))

    def _card(self, seen: Seen, at_us: int) -> str | None:
        if seen.uuid is None:
            return None
        known = self._gpus(at_us)
        card = next((gpu.card for gpu in known if gpu.uuid == seen.uuid), None)
        return card or next((gpu.card for gpu in known if gpu.card == seen.uuid), None)

    def _price(self, seen: Seen, at_us: int) -> tuple[Fraction, str]:
        lease = self._lease_of(seen, at_us)
        names: list[tuple[str, str | None]] = [
            ("uuid", seen.uuid),
            ("uuid", self._card(seen, at_us)),
            ("host", seen.host),
            ("instance_type", lease.instance_type if lease else None),
            ("gpu_name", gpu_name(seen.name, self.catalog.aliases) if seen.name else None),
        ]
        for kind, value in names:
            rows = [row for row in self.catalog.prices if self._is_for(row, kind, value) and row.holds(at_us)]
            if kind == "instance_type" and lease is not None:
                rows = [row for row in rows if row.market == lease.market and row.zone in (None, lease.zone)]
            if rows:
                # A price of the zone comes before one of every zone.
                best = min(rows, key=lambda row: (row.zone is None, row.zone or "", row.market))
                return best.usd_per_gpu_hour, CATALOG_PRICE
        return self.default_usd_per_hour, DEFAULT_PRICE

    def _is_for(self, price: Price, kind: str, value: str | None) -> bool:
        if value is None or price.selector.kind != kind:
            return False
        if kind == "gpu_name":
            return gpu_name(price.selector.value, self.catalog.aliases) == value
        return price.selector.value == value

    def _lease_of(self, seen: Seen, at_us: int) -> Lease | None:
        for selector in (Selector("uuid", seen.uuid or ""), Selector("host", seen.host or "")):
            for lease in self.catalog.leases:
                if lease.selector == selector and lease.holds(at_us):
                    return lease
        return None

    def _share(self, seen: Seen, at_us: int) -> Fraction:
        known = self._gpus(at_us)
        if seen.uuid is not None:
            slices = [gpu.share for gpu in known if gpu.card == seen.uuid]
            if slices:
                return 1 - sum(slices, Fraction(0))
            own = next((gpu for gpu in known if gpu.uuid == seen.uuid and gpu.share != 1), None)
            if own is not None:
                return own.share
        return _share_of_profile(seen.gpu_instance, seen.name)


def _share_of_profile(profile: str | None, name: str | None) -> Fraction:
    """What a MIG profile says: 2g.20gb has two of a card's seven parts; an A30 has four."""
    if not profile:
        return Fraction(1)
    digits = profile.split("g.", 1)[0]
    whole = 4 if "A30" in (name or "") else 7
    if digits not in map(str, range(1, whole)):
        return Fraction(1)
    return Fraction(int(digits), whole)
