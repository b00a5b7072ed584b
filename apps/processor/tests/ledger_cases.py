"""Small hostile cases for the ledger: events, a catalog and a question, all from one seed."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

# Two hours before a new day and a new month.
BASE = datetime(2026, 1, 31, 22, tzinfo=UTC)
SPAN_HOURS = 4
GAPS_SECONDS = (1, 30, 600, 1800, 5400)
UUIDS = ("GPU-a", "GPU-b", "MIG-c", "MIG/d")
HOSTS = ("h1", "h2", None)
NAMES = ("H100", "NVIDIA H100 80GB", "A30", "b/1/c", None)
MODELS = ("m1", "m2", "m3")
DEPLOYMENTS = ("d1", "d2", "GPU-a")
ENDPOINTS = ("http://e1", "http://e2")
TEAMS = (None, "red", "blue")
PRICES = (0, 0.1, 1, 2.5, 3.333, 10, 1e-9)
MARKETS = ("on_demand", "spot")
VALID = ("valid_from", "valid_to")
DIMENSIONS = (
    "model",
    "deployment",
    "gpu",
    "host",
    "team",
    "tenant",
    "user",
    "workload",
    "tag:env",
)


class Case(NamedTuple):
    """What both sides are asked."""

    events: list[dict[str, Any]]
    catalog: dict[str, Any]
    question: dict[str, Any]


def written(moment: datetime) -> str:
    """A time as events write it."""
    return moment.isoformat().replace("+00:00", "Z")


def some(rng: random.Random, chance: float, **fields: Any) -> dict[str, Any]:
    """Each field with a chance."""
    return {name: value for name, value in fields.items() if rng.random() < chance}


def with_nulls(rng: random.Random, event: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The event, seldom with an absent field as null."""
    for name in names:
        if name not in event and rng.random() < 0.03:
            event[name] = None
    return event


class Maker:
    """Makes the case of a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.gap_seconds = self.rng.choice(GAPS_SECONDS)
        self.moments = [self.new_moment() for _ in range(self.rng.randint(2, 8))]
        self.gpus = [self.new_gpu() for _ in range(self.rng.randint(1, 4))]
        self.models = MODELS[: self.rng.randint(1, 3)]
        # Some cases are all of one kind, so that rare conditions (all events timed, say) are met.
        self.timed = self.rng.choice((0.0, 0.5, 1.0))
        self.gateway = self.rng.choice((0.0, 0.3, 0.6, 1.0))
        self.owned = self.rng.choice((0.0, 0.3, 0.8))
        self.named = self.rng.choice((0.1, 0.5, 0.9))
        # One deployment that nearly everything belongs to, so that events meet in one unit.
        self.only = self.rng.choice((None, None, "d1"))

    def case(self) -> Case:
        catalog = self.catalog() if self.rng.random() < 0.8 else {}
        events = [
            self.reading() if self.rng.random() < 0.5 else self.usage()
            for _ in range(self.rng.randint(1, 20))
        ]
        for number, event in enumerate(events):
            if self.rng.random() < 0.3:
                event["event_id"] = f"{self.rng.choice('abc')}{number}"
        repeated = [event for event in events if event.get("event_id")]
        if repeated and self.rng.random() < 0.3:
            events.append(self.rng.choice(repeated))
        return Case(events, catalog, self.question())

    def new_moment(self) -> datetime:
        """Near an hour's edge, or anywhere."""
        rng = self.rng
        hour = BASE + timedelta(hours=rng.randint(0, SPAN_HOURS))
        near = (0, 0, 1, -1, 0.5, -0.5, 1000, -1000, self.gap_seconds * 1000, -self.gap_seconds * 1000)
        if rng.random() < 0.5:
            return hour + timedelta(milliseconds=rng.choice(near))
        return hour + timedelta(milliseconds=rng.randrange(3_600_000))

    def moment(self) -> datetime:
        """One of the case's few moments, or a little off it, or a gap off it."""
        rng = self.rng
        moment = rng.choice(self.moments)
        kind = rng.random()
        if kind < 0.4:
            return moment
        if kind < 0.6:
            return moment + timedelta(seconds=rng.choice((-1, 1)) * self.gap_seconds)
        if kind < 0.7:
            return moment + timedelta(milliseconds=rng.choice((-1, 1)))
        if kind < 0.75:
            return moment + timedelta(microseconds=rng.randrange(1000))
        return moment + timedelta(milliseconds=rng.randrange(self.gap_seconds * 2000))

    def coarse_moment(self) -> datetime:
        """For catalogs: to the millisecond."""
        moment = self.moment()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    # --- The catalog

    def catalog(self) -> dict[str, Any]:
        rng = self.rng
        catalog: dict[str, Any] = {}
        if rng.random() < 0.6:
            catalog["gpus"] = self.catalog_gpus()
        if rng.random() < 0.8:
            catalog["deployments"] = self.deployments(catalog.get("gpus", []))
        if rng.random() < 0.7:
            catalog["prices"] = self.prices()
        if rng.random() < 0.5:
            catalog["leases"] = self.leases(catalog.get("gpus", []))
        if rng.random() < 0.5:
            catalog["weights"] = self.dated({}, self.weights)
        if rng.random() < 0.5:
            catalog["aliases"] = {"NVIDIA H100 80GB": "H100"}
        return catalog

    def dated(
        self,
        fixed: dict[str, Any],
        varying: Callable[[], dict[str, Any]] = dict,
        names: tuple[str, str] = VALID,
    ) -> list[dict[str, Any]]:
        """Rows of one thing, one after the other, perhaps with time between."""
        rng = self.rng
        bounds = sorted({self.coarse_moment() for _ in range(rng.choice((0, 0, 1, 2, 3)))})
        edges: list[datetime | None] = [None, *bounds, None]
        rows = []
        for since, until in pairwise(edges):
            if rng.random() < 0.2 and len(edges) > 2:
                continue
            times = {name: written(edge) for name, edge in zip(names, (since, until), strict=True) if edge}
            rows.append(fixed | varying() | times)
        return rows

    def weights(self) -> dict[str, Any]:
        rng = self.rng
        return {
            "uncached_prompt": rng.choice((1, 1, 0, 0.3)),
            "cached_prompt": rng.choice((0.1, 0, 1)),
            "completion": rng.choice((4, 1, 0, 2.7)),
        }

    def catalog_gpus(self) -> list[dict[str, Any]]:
        """A few of the GPUs, each with its place or uuid or both; perhaps slices of GPU-a."""
        rng = self.rng
        rows = []
        places = rng.sample([(host, index) for host in ("h1", "h2") for index in (0, 1)], 4)
        for uuid in rng.sample(UUIDS, rng.randint(0, 3)):
            sliced = rng.random() < 0.5 and uuid.startswith("MIG")
            fields: dict[str, Any] = {"uuid": uuid}
            if sliced:
                fields |= {"card": "GPU-a", "share": rng.choice((0.25, 0.5, 0.142857, "1/3"))}
            elif rng.random() < 0.2 and uuid != "GPU-a":
                fields["share"] = rng.choice((0.25, 0.5))
            if rng.random() < 0.6 and not sliced:
                fields |= dict(zip(("host", "gpu_index"), places.pop(), strict=True))
            name = rng.choice(NAMES)
            if name is not None:
                fields["name"] = name
            rows += self.dated(fields)
        if rng.random() < 0.2:
            fields = dict(zip(("host", "gpu_index"), places.pop(), strict=True)) | {"name": "A30"}
            rows += self.dated(fields)
        return rows

    def deployments(self, gpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """No GPU is listed twice at one time, neither by name nor by place."""
        rng = self.rng
        taken = [(row.get("host"), row.get("gpu_index")) for row in gpus]
        places = [("h1", 0), ("h2", 0), ("h1", 1)]
        listed: list[Any] = [*UUIDS]
        listed += [{"host": place[0], "gpu_index": place[1]} for place in places if place not in taken]
        rng.shuffle(listed)
        rows = []
        for name in rng.sample(DEPLOYMENTS, rng.randint(1, 3)):
            own, listed = listed[: rng.randint(0, 3)], listed[3:]
            rows += self.dated({"id": name}, partial(self.deployment, own))
        return rows

    def deployment(self, gpus: list[Any]) -> dict[str, Any]:
        rng = self.rng
        return {
            "models": rng.sample(MODELS, rng.randint(0, 3)),
            "gpus": rng.sample(gpus, rng.randint(0, len(gpus))),
            **some(rng, 0.5, endpoints=rng.sample(ENDPOINTS, rng.randint(0, 2))),
            **some(rng, 0.5, role=rng.choice(("serve", "prefill", "decode"))),
        }

    def prices(self) -> list[dict[str, Any]]:
        rng = self.rng
        selectors = [{"uuid": uuid} for uuid in UUIDS] + [{"host": "h1"}, {"host": "h2"}]
        selectors += [{"gpu_name": "H100"}, {"gpu_name": "A30"}, {"gpu_name": "b/1/c"}]
        rows = []
        for selector in rng.sample(selectors, rng.randint(0, 4)):
            rows += self.dated({"selector": selector}, self.price)
        for market in rng.sample(MARKETS, rng.choice((0, 1, 2))):
            for zone in rng.sample((None, "z1"), rng.randint(1, 2)):
                row = {"selector": {"instance_type": "p5"}, "market": market, "zone": zone}
                rows += self.dated({name: value for name, value in row.items() if value}, self.price)
        return rows

    def price(self) -> dict[str, Any]:
        rng = self.rng
        price: dict[str, Any] = {"usd_per_hour": rng.choice(PRICES)}
        if rng.random() < 0.3:
            price |= {"per": "instance", "gpus": rng.choice((1, 3, 8))}
        return price

    def leases(self, gpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rng = self.rng
        # Where rows of the host come and go, the lease says how many GPUs it has.
        known = {row.get("host") for row in gpus} - {row.get("host") for row in gpus if row.keys() & {*VALID}}
        hosts, uuids = [{"host": "h1"}, {"host": "h2"}], [{"uuid": uuid} for uuid in UUIDS]
        # A GPU must not be leased twice, by itself and with a host that the catalog knows it to be in.
        selectors = rng.choice((hosts, uuids) if gpus else (hosts, uuids, hosts + uuids))
        rows = []
        chosen = rng.sample(selectors, rng.randint(1, 2))
        if {"uuid": "GPU-a"} in chosen:
            # Nor a slice, by itself and with its card.
            sliced = {row.get("uuid") for row in gpus if "card" in row}
            chosen = [selector for selector in chosen if selector.get("uuid") not in sliced]
        for selector in chosen:
            counts = "host" in selector and (selector["host"] not in known or rng.random() < 0.3)
            rows += self.dated({"selector": selector}, partial(self.lease, counts), ("from", "to"))
        return rows

    def lease(self, counts: bool) -> dict[str, Any]:
        rng = self.rng
        return {
            **some(rng, counts, gpus=rng.choice((1, 2))),
            **some(rng, 0.5, instance_type="p5", zone=rng.choice(("z1", "z2"))),
            **some(rng, 0.5, market=rng.choice(MARKETS)),
        }

    # --- Events

    def new_gpu(self) -> dict[str, Any]:
        """The identity that its readings carry, some more and some less of it."""
        rng = self.rng
        gpu = {"host": rng.choice(HOSTS), "gpu_index": rng.choice((0, 0, 1)), "name": rng.choice(NAMES)}
        if rng.random() < 0.6:
            gpu["uuid"] = rng.choice(UUIDS)
        return {name: value for name, value in gpu.items() if value is not None}

    def reading(self) -> dict[str, Any]:
        rng = self.rng
        gpu = dict(rng.choice(self.gpus))
        if "uuid" in gpu:
            for name in ("host", "gpu_index", "name"):
                if rng.random() < 0.1:
                    gpu.pop(name, None)
        elif rng.random() < 0.1:
            gpu.pop("name", None)
        event = {
            "ts": written(self.moment()),
            **gpu,
            **some(rng, 0.5, utilization=rng.choice((0, 0.5, 1.0)), power_w=rng.choice((0, 280, 0.0005))),
            **some(rng, 0.4, price_per_hour_usd=rng.choice(PRICES)),
            **some(rng, 0.9 if self.only else 0.15, deployment=self.only or rng.choice(DEPLOYMENTS)),
            **some(rng, 0.15, gpu_instance=rng.choice(("1g.10gb", "3g.40gb", "7g.80gb", "odd"))),
        }
        return with_nulls(rng, event, ("host", "name", "utilization", "price_per_hour_usd", "deployment"))

    def usage(self) -> dict[str, Any]:
        rng = self.rng
        prompt = rng.choice((0, 1, 7, 1000, rng.randrange(100_000)))
        completion = rng.choice((0, 1, 3, 440, rng.randrange(10_000)))
        event = {
            "ts": written(self.moment()),
            "model": rng.choice(self.models),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            **some(rng, 0.3, cached_prompt_tokens=rng.randint(0, prompt)),
            **some(rng, 0.2, reasoning_tokens=rng.randint(0, completion)),
            **some(rng, 0.2, requests=rng.choice((0, 1, 5))),
            **some(rng, 0.1, counter_resets=rng.choice((0, 1, 3))),
            **some(
                rng,
                0.3,
                interval_seconds=rng.choice((0.001, 1, 60, 3600, 7200.5, rng.random() * 9000 + 0.001)),
            ),
            **some(
                rng,
                self.timed,
                prefill_seconds=rng.choice((0, 0.5, 1.25)),
                decode_seconds=rng.choice((0, 3, 0.1)),
            ),
            **some(rng, self.gateway, measured_by="gateway"),
            **self.target(),
            **self.owner(),
        }
        if event.get("measured_by") is None and rng.random() < 0.2:
            event["measured_by"] = "engine"
        return with_nulls(
            rng, event, ("host", "gpu_uuid", "requests", "cached_prompt_tokens", "prefill_seconds")
        )

    def target(self) -> dict[str, Any]:
        """How the event names what served it; all ways at random, also wrong ones."""
        rng = self.rng
        gpu = rng.choice(self.gpus)
        target: dict[str, Any] = {}
        if self.only and rng.random() < 0.8:
            return {"deployment": self.only}
        if rng.random() < self.named:
            kind = rng.randrange(5)
            if kind == 0:
                target["deployment"] = rng.choice(DEPLOYMENTS)
            elif kind == 1:
                target["gpu_uuid"] = gpu.get("uuid", rng.choice(UUIDS))
            elif kind == 2:
                target["gpu_uuids"] = rng.sample(UUIDS, rng.randint(1, 3))
            elif kind == 3:
                target["endpoint"] = rng.choice(ENDPOINTS)
        if rng.random() < 0.5:
            target |= {name: gpu[name] for name in ("host", "gpu_index") if name in gpu}
            if rng.random() < 0.4:
                target.pop("gpu_index", None)
        return target

    def owner(self) -> dict[str, Any]:
        rng = self.rng
        if rng.random() >= self.owned:
            return {}
        return {
            **some(rng, 0.8, team=rng.choice(("red", "blue"))),
            **some(rng, 0.2, tenant=rng.choice(("t1", "t2")), user="u", workload="batch", api_key_hash="k"),
            **some(rng, 0.1, tags=rng.choice(({"env": "prod"}, {"env": "test", "a": "b"}, {"b": "a"}, {}))),
        }

    # --- The question

    def question(self) -> dict[str, Any]:
        rng = self.rng
        if rng.random() < 0.4:
            start, end = BASE - timedelta(hours=2), BASE + timedelta(hours=SPAN_HOURS + 2)
        else:
            start, end = sorted((self.moment(), self.moment()))
            if (end - start) // timedelta(milliseconds=2) < 1:
                end = start + timedelta(hours=1)
        return {
            "start": None if rng.random() < 0.1 else written(start),
            "end": None if rng.random() < 0.1 else written(end),
            "step": rng.choice((None, None, "hour", "day", "month")),
            "group_by": rng.sample(DIMENSIONS, rng.choice((0, 1, 1, 2, 3))),
            "basis": rng.choice(("covered", "leased")),
            "gap_seconds": self.gap_seconds,
            "default_price": rng.choice((0, 0.85, 2)),
        }
