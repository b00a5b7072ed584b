"""What the ledger must answer, computed a second time: plain fractions over the smallest pieces of time.

It shares no code with the product. Slow and plain: time is cut at every bound there is, and each piece
asks every GPU for its last reading. Where the rules leave a choice, these are the choices:

- Catalog times are cut to the millisecond too. A row holds in `[valid_from, valid_to)`.
- Of events with one `event_id` the first that is read counts, for each kind by itself.
- A range without a bound and without events is empty.
- The content that orders readings of one time and id ends with host and index.
- A gap is seen between readings of `[start - gap, end)`.
- `interval_seconds` is rounded to microseconds; an event whose interval rounds to 0 lies at its `ts`.
- Rules 3 and 4 go on to the next rule if no deployment lists the endpoint or model; rules 1 and 2 never do.
- Roles are looked at once units without covered time are dropped.
- Counter resets are spread over an interval as requests are, and counted whoever measured.
- Requests and prefill time go where prompt tokens go, reasoning and decode time where completion tokens go.
- "Has tokens" is asked of the amounts in the cell, not of the whole event.
- A gateway reports cached tokens if one of its events has the field, be it 0.
- A row costs null if all its tokens are unpriced and no cost fell to it. (A part of an item may have cost
  without a token: a GPU's part of one token is none.)
- Without engine tokens, gateway events are the amount; requests of engine events count then only if there
  is no gateway event.
- Where the gateway counted no token, the engine's tokens are nobody's, but not "unattributed".
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

HOUR_US = 3_600_000_000
PICO = 10**12
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLASSES = ("uncached_prompt", "cached_prompt", "completion")
PROMPT_AMOUNTS = ("uncached_prompt", "cached_prompt", "requests", "prefill_us")
COMPLETION_AMOUNTS = ("completion", "reasoning", "decode_us")
SHOWN = (*CLASSES, "reasoning", "requests")
AMOUNTS = PROMPT_AMOUNTS + COMPLETION_AMOUNTS
# Whose tokens, in the order in which keys sort.
OWNERS = ("team", "tenant", "user", "workload", "api_key_hash", "tags")

Event = dict[str, Any]
Amounts = dict[str, int]
Unit = tuple[str, str]  # ("deployment", id), ("gpu", its text) or ("none", the deployment that was asked for)
Owner = tuple[Any, ...]  # The values of OWNERS; tags as a tuple of pairs
Key = tuple[str, Owner]  # A model, and whose
Gpu = tuple[Any, ...]


# --- Numbers and times


def us(moment: Any) -> int:
    """Microseconds since 1970, cut to the millisecond."""
    if not isinstance(moment, datetime):
        moment = datetime.fromisoformat(str(moment))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    exact_us: int = (moment - EPOCH) // timedelta(microseconds=1)
    return exact_us // 1000 * 1000


def text_of(moment_us: int) -> str:
    """As an event would write it."""
    return (EPOCH + timedelta(microseconds=moment_us)).isoformat().replace("+00:00", "Z")


def exact(number: Any) -> Fraction:
    """The decimal that the number prints as, or a fraction written as text."""
    return Fraction(str(number))


def scaled(number: Any, factor: int) -> int:
    return round(exact(number) * factor)


def shares(amount: int, weights: Sequence[Fraction | int], whole: Fraction | int | None = None) -> list[int]:
    """Whole parts in proportion to the weights; they add up to the amount if the weights do to `whole`."""
    whole = sum(weights) if whole is None else whole
    parts, before, so_far = [], 0, Fraction(0)
    for weight in weights:
        so_far += weight
        up_to = amount * so_far // whole if whole else 0
        parts.append(int(up_to) - before)
        before = int(up_to)
    return parts


def encoded(text: Any) -> str:
    return "" if text is None else str(text).replace("%", "%25").replace("/", "%2F")


def gpu_text(gpu: Gpu) -> str:
    return encoded(gpu[1]) if gpu[0] == "uuid" else "/".join(encoded(part) for part in gpu[1:])


# --- The catalog


class Book:
    """The catalog's rows, asked for a moment."""

    def __init__(self, catalog: dict[str, Any], default_price: Any) -> None:
        self.rows: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
        for kind in ("deployments", "prices", "leases", "gpus", "weights"):
            names = ("from", "to") if kind == "leases" else ("valid_from", "valid_to")
            self.rows[kind] = [
                (bound(row.get(names[0]), -(10**20)), bound(row.get(names[1]), 10**20), row)
                for row in catalog.get(kind) or []
            ]
        self.aliases: dict[str, str] = catalog.get("aliases") or {}
        self.default_price = exact(default_price)

    def at(self, kind: str, moment: int) -> list[dict[str, Any]]:
        return [row for since, until, row in self.rows[kind] if since <= moment < until]

    def bounds(self) -> set[int]:
        """Every moment at which any row begins or ends."""
        return {moment for rows in self.rows.values() for *times, _ in rows for moment in times}

    def name(self, name: str | None) -> str | None:
        return self.aliases.get(name, name) if name is not None else None

    def gpu_row(self, uuid: str | None, host: str | None, index: int | None, moment: int) -> dict[str, Any]:
        """The row of a GPU; empty if there is none."""
        for row in self.at("gpus", moment):
            if uuid is not None and row.get("uuid") == uuid:
                return row
            if uuid is None and row.get("uuid") is None and is_at(row, host, index):
                return row
        return {}

    def gpu(self, reading: Event, moment: int) -> Gpu:
        """Which GPU a reading is of."""
        host, index = reading.get("host"), reading.get("gpu_index")
        if reading.get("uuid") is not None:
            return ("uuid", reading["uuid"])
        for row in self.at("gpus", moment):
            if row.get("uuid") is not None and is_at(row, host, index):
                return ("uuid", row["uuid"])
        return ("place", host, index, reading.get("name") or self.place_name(host, index, moment))

    def place_name(self, host: str | None, index: int | None, moment: int) -> str | None:
        """The name of the GPU that has no uuid and is at the place."""
        rows = (row for row in self.at("gpus", moment) if row.get("uuid") is None)
        return next((row.get("name") for row in rows if is_at(row, host, index)), None)

    def deployment(self, uuid: str | None, places: Iterable[tuple[Any, Any]], moment: int) -> str | None:
        """The deployment that lists the GPU, by uuid or by one of its places."""
        listed = [
            (one if isinstance(one, dict) else {"uuid": one}, str(row["id"]))
            for row in self.at("deployments", moment)
            for one in row.get("gpus") or []
        ]
        by_uuid = [name for one, name in listed if uuid is not None and one.get("uuid") == uuid]
        by_place = [name for one, name in listed if any(is_at(one, *place) for place in places)]
        return next(iter(by_uuid + by_place), None)

    def serving(self, field: str, value: str, moment: int) -> list[dict[str, Any]]:
        """Deployments that list an endpoint or a model."""
        return [row for row in self.at("deployments", moment) if value in (row.get(field) or [])]

    def card(self, uuid: str | None, moment: int) -> str | None:
        """The card that the GPU is a slice of, or the GPU itself if it has slices."""
        rows = [row for row in self.at("gpus", moment) if uuid is not None and row.get("card") is not None]
        return next(
            iter(
                [row["card"] for row in rows if row.get("uuid") == uuid]
                + [uuid for row in rows if row["card"] == uuid]
            ),
            None,
        )

    def share(
        self, uuid: str | None, row: dict[str, Any], gpu_instance: str | None, name: str | None, moment: int
    ) -> Fraction:
        """Of the card's price."""
        if row.get("share") is not None:
            return exact(row["share"])
        slices = [one for one in self.at("gpus", moment) if one.get("card") is not None]
        slices = [one for one in slices if one["card"] == uuid]
        if slices:
            return 1 - sum((exact(one["share"]) for one in slices), Fraction(0))
        count, dot, _ = (gpu_instance or "").partition("g.")
        whole = 4 if "A30" in (name or "") else 7
        if dot and count in "1234567" and len(count) == 1 and int(count) < whole:
            return Fraction(int(count), whole)
        return Fraction(1)

    def listed_price(
        self,
        uuid: str | None,
        host: str | None,
        lease: dict[str, Any],
        name: str | None,
        moment: int,
    ) -> Fraction:
        """USD per hour of a whole card."""
        wanted = (
            ("uuid", uuid),
            ("uuid", self.card(uuid, moment)),
            ("host", host),
            ("instance_type", lease.get("instance_type")),
            ("gpu_name", self.name(name)),
        )
        prices = self.at("prices", moment)
        for field, value in wanted:
            fitting = [
                row
                for row in prices
                if value is not None and self.selected(row, field) == value and of_market(row, field, lease)
            ]
            if fitting:
                row = max(fitting, key=lambda row: row.get("zone") is not None)
                parts = row.get("gpus") or 1 if row.get("per") == "instance" else 1
                return exact(row["usd_per_hour"]) / parts
        return self.default_price

    def selected(self, row: dict[str, Any], field: str) -> str | None:
        value = row["selector"].get(field)
        return self.name(value) if field == "gpu_name" else value

    def lease(self, uuid: str | None, host: str | None, moment: int) -> dict[str, Any]:
        """The lease of a GPU, else of its host; empty if there is none."""
        for field, value in (("uuid", uuid), ("host", host)):
            for row in self.at("leases", moment):
                if value is not None and row["selector"].get(field) == value:
                    return row
        return {}


def bound(moment: Any, open_end: int) -> int:
    return open_end if moment is None else us(moment)


def is_at(row: dict[str, Any], host: str | None, index: int | None) -> bool:
    return row.get("host") == host and row.get("gpu_index") is not None and row.get("gpu_index") == index


def of_market(row: dict[str, Any], field: str, lease: dict[str, Any]) -> bool:
    """A price of an instance type holds for its market, and for its zone if it names one."""
    if field != "instance_type":
        return True
    markets = {one.get("market") or "on_demand" for one in (row, lease)}
    return len(markets) == 1 and row.get("zone") in (None, lease.get("zone"))


# --- Covered time


class Piece(NamedTuple):
    """A piece of time that one reading covers."""

    start: int
    end: int
    gpu: Gpu
    unit: Unit
    place: tuple[str | None, int | None]
    price: Fraction
    share: Fraction

    @property
    def us(self) -> int:
        return self.end - self.start

    @property
    def cell(self) -> int:
        return self.start // HOUR_US


def order(reading: Event) -> tuple[Any, ...]:
    """The last of equal times governs."""
    price = reading.get("price_per_hour_usd")
    return (
        us(reading["ts"]),
        reading.get("event_id") or "",
        str(price),
        -1 if reading.get("utilization") is None else scaled(reading["utilization"], 10**6),
        -1 if reading.get("power_w") is None else scaled(reading["power_w"], 1000),
        reading.get("deployment") or "",
        reading.get("gpu_instance") or "",
        reading.get("name") or "",
        reading.get("host") or "",
        -1 if reading.get("gpu_index") is None else reading["gpu_index"],
    )


def covered_pieces(book: Book, gpus: dict[Gpu, list[Event]], cuts: set[int], gap_us: int) -> list[Piece]:
    """Every piece of time in which a GPU is covered, with its unit and price."""
    timed = {gpu: [(us(reading["ts"]), reading) for reading in readings] for gpu, readings in gpus.items()}
    starts = [start for readings in timed.values() for start, _ in readings]
    first, last = min(cuts), max(cuts)
    moments = sorted(
        moment
        for moment in cuts.union(starts, (start + gap_us for start in starts))
        if first <= moment <= last
    )
    pieces = []
    for start, end in pairwise(moments):
        for gpu, readings in timed.items():
            earlier = [(since, reading) for since, reading in readings if since <= start]
            if earlier and start < earlier[-1][0] + gap_us:
                pieces.append(described(book, gpu, earlier[-1][1], start, end))
    return pieces


def described(book: Book, gpu: Gpu, reading: Event, start: int, end: int) -> Piece:
    uuid = gpu[1] if gpu[0] == "uuid" else None
    host, index, name = reading.get("host"), reading.get("gpu_index"), reading.get("name")
    if uuid is not None and reading.get("uuid") is not None:
        known = book.gpu_row(uuid, None, None, us(reading["ts"]))
        if host is None:
            host, index = known.get("host"), known.get("gpu_index") if index is None else index
        name = name or known.get("name")
    elif name is None:
        name = gpu[3] if uuid is None else book.gpu_row(uuid, None, None, us(reading["ts"])).get("name")
    row = book.gpu_row(uuid, host, index, start)
    share = book.share(uuid, row, reading.get("gpu_instance"), name, start)
    deployment = reading.get("deployment") or book.deployment(uuid, [(host, index)], start)
    unit = ("deployment", deployment) if deployment is not None else ("gpu", gpu_text(gpu))
    if reading.get("price_per_hour_usd") is not None:
        price = exact(reading["price_per_hour_usd"])
    else:
        price = book.listed_price(uuid, host, book.lease(uuid, host, start), name, start)
        price *= share
    return Piece(start, end, gpu, unit, (host, index), price, share)


def pico(covered_us: int, usd_per_hour: Fraction) -> int:
    """Money for a time, rounded half to even."""
    return round(covered_us * usd_per_hour * PICO / HOUR_US)


def costs_pico(pieces: Iterable[Piece]) -> dict[tuple[int, Unit], dict[Gpu, int]]:
    """What each GPU of a unit costs in a cell: one rounding for each GPU, price and unit."""
    sums: dict[tuple[int, Unit, Gpu, Fraction], int] = defaultdict(int)
    for piece in pieces:
        sums[piece.cell, piece.unit, piece.gpu, piece.price] += piece.us
    costs: dict[tuple[int, Unit], dict[Gpu, int]] = defaultdict(lambda: defaultdict(int))
    for (cell, unit, gpu, price), covered_us in sums.items():
        costs[cell, unit][gpu] += pico(covered_us, price)
    return costs


def gaps_us(gpus: dict[Gpu, list[Event]], start: int, end: int, gap_us: int) -> int:
    total = 0
    for readings in gpus.values():
        seen = [moment for moment in (order(one)[0] for one in readings) if start - gap_us <= moment < end]
        total += sum(
            max(0, min(after, end) - max(before + gap_us, start)) for before, after in pairwise(seen)
        )
    return total


# --- Leases


def unreported(book: Book, pieces: list[Piece], cuts: set[int]) -> dict[int, tuple[int, int]]:
    """By cell: leased time (us) without a GPU, and its pico-USD: one rounding a lease, price and cell."""
    sums: dict[tuple[int, int, Fraction], int] = defaultdict(int)
    for first, last in pairwise(sorted(cuts)):
        for number, (since, until, lease) in enumerate(book.rows["leases"]):
            if since <= first < until:
                silent_us, price = silent(book, lease, pieces, first, last)
                sums[first // HOUR_US, number, price] += silent_us
    found: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (cell, _, price), silent_us in sums.items():
        before = found[cell]
        found[cell] = (before[0] + silent_us, before[1] + pico(silent_us, price))
    return found


def leased_gpus(rows: list[dict[str, Any]], lease: dict[str, Any]) -> list[dict[str, Any]]:
    """The catalog's GPUs of a lease, the first by uuid first."""
    (field, value), *_ = lease["selector"].items()
    return sorted((row for row in rows if row.get(field) == value), key=lambda row: row.get("uuid") or "")


def silent(
    book: Book, lease: dict[str, Any], pieces: list[Piece], first: int, last: int
) -> tuple[int, Fraction]:
    """Silent time (us) of a lease in a piece of time, and its price per GPU hour."""
    uuid, host = lease["selector"].get("uuid"), lease["selector"].get("host")
    rows = leased_gpus(book.at("gpus", first), lease)
    cards = {row.get("card") or row.get("uuid") or (row["host"], row["gpu_index"]) for row in rows}
    count = 1 if uuid is not None else lease.get("gpus") or len(cards)
    covered_us = Fraction(0)
    for piece in pieces:
        inside_us = max(0, min(piece.end, last) - max(piece.start, first))
        own = piece.gpu[1] if piece.gpu[0] == "uuid" else None
        card = book.card(own, first)
        if (piece.place[0] == host) if uuid is None else (card is not None and card == uuid):
            covered_us += inside_us * piece.share
        elif uuid is not None and own == uuid:
            covered_us += inside_us
    row = rows[0] if rows else {}
    if uuid is not None:
        host = row.get("host")
    price = book.listed_price(uuid, host, lease, row.get("name"), first)
    if uuid is not None and row.get("card") is not None:
        price *= exact(row["share"])
    return max(Fraction(0), count * (last - first) - covered_us), price


# --- Usage


class Item(NamedTuple):
    """Amounts of one kind, model and owner, in one cell or one unit of it."""

    gateway: bool
    model: str
    owner: Owner
    amounts: Amounts
    # Whether some prompt (completion) tokens came without their time.
    lacks_prefill: bool
    lacks_decode: bool
    # Whether cached prompt tokens were reported, be it none.
    says_cached: bool

    @property
    def prompt(self) -> int:
        return self.amounts["uncached_prompt"] + self.amounts["cached_prompt"]

    @property
    def completion(self) -> int:
        return self.amounts["completion"]

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion


class Shares(NamedTuple):
    """The units that an event names, each with its weight."""

    prompt: tuple[tuple[Unit, int], ...]
    completion: tuple[tuple[Unit, int], ...]


def whole_amounts(event: Event) -> Amounts:
    cached = event.get("cached_prompt_tokens") or 0
    requests = event.get("requests")
    return {
        "uncached_prompt": event["prompt_tokens"] - cached,
        "cached_prompt": cached,
        "completion": event["completion_tokens"],
        "reasoning": event.get("reasoning_tokens") or 0,
        "requests": 1 if requests is None else requests,
        "prefill_us": scaled(event.get("prefill_seconds") or 0, 10**6),
        "decode_us": scaled(event.get("decode_seconds") or 0, 10**6),
        "counter_resets": event.get("counter_resets") or 0,
    }


def by_cell(event: Event, start: int, end: int) -> dict[int, Amounts]:
    """The event's amounts in each cell of the range."""
    whole, ts = whole_amounts(event), us(event["ts"])
    interval_us = interval_of(event)
    if not interval_us:
        return {ts // HOUR_US: whole} if start <= ts < end else {}
    since = ts - interval_us
    first, last = max(since, start), min(ts, end)
    cells = {}
    for cell in range(first // HOUR_US, -(-last // HOUR_US) if first < last else 0):
        one, other = max(first, cell * HOUR_US), min(last, (cell + 1) * HOUR_US)
        cells[cell] = {
            name: amount * (other - since) // interval_us - amount * (one - since) // interval_us
            for name, amount in whole.items()
        }
    return cells


def interval_of(event: Event) -> int:
    return scaled(event.get("interval_seconds") or 0, 10**6)


class Hour:
    """The covered pieces of one cell, and whom a usage event finds in it."""

    def __init__(self, book: Book, pieces: list[Piece]) -> None:
        self.book = book
        self.pieces = pieces
        self.units: dict[Unit, int] = defaultdict(int)
        for piece in pieces:
            self.units[piece.unit] += piece.us

    def shares(self, event: Event) -> Shares:
        """Where the event's amounts belong: units by weight (us), or one that stands for none."""
        weights, rows = self.found(event)
        units = sorted(weights.items())
        if not units:
            nothing = (("none", event.get("deployment") or ""), 1)
            return Shares((nothing,), (nothing,))
        roles = {("deployment", str(row["id"])): row.get("role") or "serve" for row in rows}
        if not {"prefill", "decode"} <= {roles.get(unit) for unit, _ in units}:
            return Shares(tuple(units), tuple(units))
        return Shares(
            tuple(one for one in units if roles[one[0]] != "decode"),
            tuple(one for one in units if roles[one[0]] != "prefill"),
        )

    def found(self, event: Event) -> tuple[dict[Unit, int], list[dict[str, Any]]]:
        """Units with covered time, each with its weight (us), and the deployments that were asked for."""
        moment = us(event["ts"]) - (1 if interval_of(event) else 0)
        if event.get("deployment") is not None:
            return self.deployments([event["deployment"]]), []
        uuids = {event.get("gpu_uuid"), *(event.get("gpu_uuids") or [])} - {None}
        if uuids:
            return self.of_gpus({("uuid", uuid) for uuid in uuids}, moment), []
        if event.get("gpu_index") is not None:
            place = (event.get("host"), event["gpu_index"])
            return self.of_gpus({one.gpu for one in self.pieces if one.place == place}, moment), []
        for field, value in (("endpoints", event.get("endpoint")), ("models", event["model"])):
            rows = self.book.serving(field, value, moment) if value is not None else []
            if rows:
                return self.deployments([str(row["id"]) for row in rows]), rows
        if event.get("host") is not None:
            return self.of_gpus({one.gpu for one in self.pieces if one.place[0] == event["host"]}, moment), []
        return {}, []

    def deployments(self, ids: list[str]) -> dict[Unit, int]:
        units = [("deployment", one) for one in ids]
        return {unit: self.units[unit] for unit in units if unit in self.units}

    def of_gpus(self, gpus: set[Gpu], moment: int) -> dict[Unit, int]:
        weights: dict[Unit, int] = defaultdict(int)
        for gpu in gpus:
            own = [piece for piece in self.pieces if piece.gpu == gpu]
            places = sorted({piece.place for piece in own}, key=repr)
            deployment = self.book.deployment(gpu[1] if gpu[0] == "uuid" else None, places, moment)
            listed = [piece for piece in own if piece.unit == ("deployment", deployment)]
            for piece in listed or own:
                weights[piece.unit] += piece.us
        return weights


def added(items: Sequence[Item]) -> Item:
    """Items of one kind, model and owner as one."""
    return items[0]._replace(
        amounts={name: sum(item.amounts[name] for item in items) for name in AMOUNTS},
        lacks_prefill=any(item.lacks_prefill for item in items),
        lacks_decode=any(item.lacks_decode for item in items),
        says_cached=any(item.says_cached for item in items),
    )


def divided(item: Item, among: Shares, before: dict[Unit, list[Item]]) -> dict[Unit, Item]:
    """An item's amounts among its units: a gateway's where the engine counted tokens of no known owner."""
    parts: dict[Unit, Amounts] = defaultdict(lambda: dict.fromkeys(AMOUNTS, 0))
    for names, weights in ((PROMPT_AMOUNTS, among.prompt), (COMPLETION_AMOUNTS, among.completion)):
        units = [unit for unit, _ in weights]
        known = [
            sum(
                one.prompt if names is PROMPT_AMOUNTS else one.completion
                for one in before[unit]
                if not one.gateway and one.owner == NOBODY and one.model == item.model
            )
            for unit in units
        ]
        if not item.gateway or not sum(known):
            known = [weight for _, weight in weights]
        for name in names:
            for unit, part in zip(units, shares(item.amounts[name], known), strict=True):
                parts[unit][name] = part
    return {unit: item._replace(amounts=amounts) for unit, amounts in parts.items()}


def owner(event: Event) -> Owner:
    """Whose an event is; NOBODY if it does not say."""
    tags = tuple(sorted((event.get("tags") or {}).items()))
    return (*(event.get(name) for name in OWNERS[:-1]), tags)


NOBODY: Owner = (None, None, None, None, None, ())


def owner_order(key: Owner) -> tuple[Any, ...]:
    """None before any text."""
    return (*((one is not None, one or "") for one in key[:-1]), key[-1])


# --- A unit in a cell


class Settled(NamedTuple):
    """What a unit served in a cell: amounts and costs by model and owner."""

    amounts: dict[Key, Amounts]
    costs: dict[Key, dict[str, int]]
    idle_pico: int
    unattributed: int
    unmatched: int


def settled(items: list[Item], cost_pico: int, weights: dict[str, Fraction]) -> Settled:
    engine = [item for item in items if not item.gateway]
    gateway = [item for item in items if item.gateway]
    amounts: dict[Key, Amounts] = defaultdict(lambda: dict.fromkeys(AMOUNTS, 0))
    unattributed = unmatched = 0
    if any(item.tokens for item in engine):
        givers = engine
        anonymous = [item for item in engine if item.owner == NOBODY]
        models = {item.model for item in engine if item.tokens}
        witnesses: dict[str, list[Item]] = defaultdict(list)
        for item in gateway:
            if item.model in models:
                witnesses[item.model].append(item)
            elif len(models) == 1:
                witnesses[min(models)].append(item)
            else:
                unmatched += item.tokens
        add(amounts, [item for item in engine if item.owner != NOBODY])
        for model in {item.model for item in anonymous}:
            own = [item for item in anonymous if item.model == model]
            left = attribute(amounts, model, own, witnesses[model])
            unattributed += left if any(item.tokens for item in witnesses[model]) else 0
    else:
        givers = gateway or engine
        add(amounts, givers)
    entries = weighed(amounts, class_weights(givers, amounts, weights))
    costs: dict[Key, dict[str, int]] = defaultdict(lambda: dict.fromkeys(CLASSES, 0))
    for (key, name, _), part in zip(entries, shares(cost_pico, [one[2] for one in entries]), strict=True):
        costs[key][name] = part
    return Settled(amounts, costs, 0 if entries else cost_pico, unattributed, unmatched)


def add(amounts: dict[Key, Amounts], items: Iterable[Item]) -> None:
    for item in items:
        for name, amount in item.amounts.items():
            amounts[item.model, item.owner][name] += amount


def attribute(amounts: dict[Key, Amounts], model: str, engine: list[Item], gateway: list[Item]) -> int:
    """Give a model's engine amounts of no known owner to the gateway's owners; the tokens that are left."""
    given: dict[Owner, Amounts] = defaultdict(lambda: dict.fromkeys(AMOUNTS, 0))
    for item in gateway:
        for name, amount in item.amounts.items():
            given[item.owner][name] += amount
    owners = sorted(given, key=owner_order)
    total = added(engine).amounts
    cached_known = any(item.says_cached for item in gateway)
    left = 0
    for name in SHOWN:
        measured_by = [name]
        if name in ("uncached_prompt", "cached_prompt") and not cached_known:
            measured_by = ["uncached_prompt", "cached_prompt"]
        elif name == "reasoning":
            measured_by = ["completion"]
        says = [sum(given[key][one] for one in measured_by) for key in owners]
        whole = max(sum(total[one] for one in measured_by), sum(says))
        parts = shares(total[name], says, whole)
        for key, part in zip(owners, parts, strict=True):
            amounts[model, key][name] += part
        rest = total[name] - sum(parts)
        amounts[model, NOBODY][name] += rest
        left += rest if name in CLASSES else 0
    return left


def tokens_of(amounts: dict[Key, Amounts]) -> dict[tuple[str, str], int]:
    """Tokens by model and class."""
    tokens: dict[tuple[str, str], int] = defaultdict(int)
    for (model, _), own in amounts.items():
        for name in CLASSES:
            tokens[model, name] += own[name]
    return tokens


def class_weights(
    givers: list[Item], amounts: dict[Key, Amounts], weights: dict[str, Fraction]
) -> dict[tuple[str, str], Fraction]:
    """What each class of each model weighs."""
    tokens = tokens_of(amounts)
    chosen = {key: weights[key[1]] * count for key, count in tokens.items()}
    untimed = any(
        (one.prompt and one.lacks_prefill) or (one.completion and one.lacks_decode) for one in givers
    )
    times = by_time(givers, tokens, chosen)
    if not untimed and any(times.values()):
        chosen = times
    if not sum(chosen.values()):
        chosen = {key: Fraction(count) for key, count in tokens.items()}
    return chosen


def by_time(
    givers: list[Item], tokens: dict[tuple[str, str], int], by_weight: dict[tuple[str, str], Fraction]
) -> dict[tuple[str, str], Fraction]:
    """The time of each class of each model (us)."""
    times = {}
    for model in {model for model, _ in tokens}:
        own = [item.amounts for item in givers if item.model == model]
        prefill_us, decode_us = (sum(one[name] for one in own) for name in ("prefill_us", "decode_us"))
        prompt = [(model, "uncached_prompt"), (model, "cached_prompt")]
        parts = [by_weight[key] for key in prompt]
        if not sum(parts):
            parts = [Fraction(tokens[key]) for key in prompt]
        for key, part in zip(prompt, parts, strict=True):
            times[key] = prefill_us * part / sum(parts) if part else Fraction(0)
        times[model, "completion"] = Fraction(decode_us if tokens[model, "completion"] else 0)
    return times


def weighed(
    amounts: dict[Key, Amounts], by_class: dict[tuple[str, str], Fraction]
) -> list[tuple[Key, str, Fraction]]:
    """Each model, owner and class with tokens, and its weight, in the order of division."""
    tokens = tokens_of(amounts)
    entries = [
        ((model, key), name, by_class[model, name] * own[name] / tokens[model, name])
        for (model, key), own in amounts.items()
        for name in CLASSES
        if own[name]
    ]
    return sorted(entries, key=lambda one: (one[0][0], CLASSES.index(one[1]), owner_order(one[0][1])))


# --- The answer


class Row(NamedTuple):
    """A part of the answer, before rows of one key are added."""

    cell: int
    dimensions: dict[str, Any]
    amounts: Amounts
    costs: dict[str, int]
    unpriced: int


def oracle(
    events: list[Event],
    catalog: dict[str, Any],
    *,
    start: Any,
    end: Any,
    step: str | None,
    group_by: Sequence[str],
    basis: str,
    gap_seconds: Any,
    default_price: Any,
) -> dict[str, Any]:
    """The answer for events and a catalog: rows, total, idle and coverage. Money as Decimal USD."""
    gap_us = scaled(gap_seconds, 10**6)
    book = Book(catalog, default_price)
    usages, gpus = sorted_out(events, book)
    start_us, end_us = bounds(usages, gpus, gap_us, start, end)
    hours = range(-(-start_us // HOUR_US) * HOUR_US, end_us, HOUR_US)
    inner = book.bounds()
    cuts = {start_us, end_us, *hours, *(one for one in inner if start_us < one < end_us)}
    pieces = covered_pieces(book, gpus, cuts, gap_us)
    costs = costs_pico(pieces)
    silent_by_cell = unreported(book, pieces, cuts)

    cells: dict[int, Hour] = {}
    for cell in range(start_us // HOUR_US, -(-end_us // HOUR_US)):
        cells[cell] = Hour(book, [piece for piece in pieces if piece.cell == cell])
    items = {}
    counts = dict.fromkeys(("engine", "gateway", "unattributed", "unpriced", "unmatched"), 0)
    for cell, hour in cells.items():
        for unit, own in assigned(usages, cell, hour, start_us, end_us).items():
            items[cell, unit] = own
            for item in own:
                counts["gateway" if item.gateway else "engine"] += item.tokens
    idle = {"fleet": 0, "loaded": 0, "unreported": 0}
    rows: list[Row] = []
    for cell, unit in costs.keys() | items.keys():
        spent = costs[cell, unit]
        done = settled(items.get((cell, unit), []), sum(spent.values()), hour_weights(book, cell))
        idle["loaded" if unit[0] == "deployment" else "fleet"] += done.idle_pico
        counts["unattributed"] += done.unattributed
        counts["unmatched"] += done.unmatched
        rows += unit_rows(cell, unit, done, spent, cells[cell], group_by)
    counts["unpriced"] = sum(row.unpriced for row in rows)
    leased = basis == "leased"
    unreported_us = round(sum((one[0] for one in silent_by_cell.values()), Fraction(0)))
    covered_us = round(sum((piece.us * piece.share for piece in pieces), Fraction(0)))
    if leased:
        idle["unreported"] = sum(one[1] for one in silent_by_cell.values())
    total_pico = sum(sum(own.values()) for own in costs.values()) + idle["unreported"]
    return {
        "rows": grouped(rows, group_by, step, start_us, end_us),
        "total": fields(rows, total_pico, always=True),
        "idle": {f"{name}_usd": usd(amount) for name, amount in idle.items()},
        "coverage": {
            "leased_seconds": seconds(covered_us + unreported_us),
            "covered_seconds": seconds(covered_us),
            "gap_seconds": seconds(gaps_us(gpus, start_us, end_us, gap_us)),
            "unreported_seconds": seconds(unreported_us),
            **{f"{name}_tokens": count for name, count in counts.items()},
            "counter_resets": sum(
                amounts["counter_resets"]
                for event in usages
                for amounts in by_cell(event, start_us, end_us).values()
            ),
        },
    }


def sorted_out(events: list[Event], book: Book) -> tuple[list[Event], dict[Gpu, list[Event]]]:
    """Usage events, and each GPU's readings in order; an id counts once."""
    seen = set()
    usages, gpus = [], defaultdict(list)
    for event in events:
        event = {name: value for name, value in event.items() if value is not None}
        is_usage = "prompt_tokens" in event
        if (event_id := event.get("event_id")) is not None:
            if (is_usage, event_id) in seen:
                continue
            seen.add((is_usage, event_id))
        if is_usage:
            usages.append(event)
        else:
            gpus[book.gpu(event, us(event["ts"]))].append(event)
    return usages, {gpu: sorted(readings, key=order) for gpu, readings in gpus.items()}


def bounds(
    usages: list[Event], gpus: dict[Gpu, list[Event]], gap_us: int, start: Any, end: Any
) -> tuple[int, int]:
    """The range; an open side goes as far as an event covers, in whole milliseconds."""
    readings = [us(reading["ts"]) for own in gpus.values() for reading in own]
    first = readings + [us(event["ts"]) - interval_of(event) for event in usages]
    last = [moment + gap_us for moment in readings]
    last += [us(event["ts"]) + (0 if interval_of(event) else 1000) for event in usages]
    if not first and None in (start, end):
        moment = us(start or end or EPOCH)
        return moment, moment
    start_us = us(start) if start is not None else min(first) // 1000 * 1000
    end_us = us(end) if end is not None else -(-max(last) // 1000) * 1000
    return start_us, max(start_us, end_us)


def assigned(usages: list[Event], cell: int, hour: Hour, start: int, end: int) -> dict[Unit, list[Item]]:
    """The items of each unit in a cell. Alike events that name the same units are added up, then divided."""
    alike: dict[tuple[Any, ...], list[Item]] = defaultdict(list)
    for event in usages:
        amounts = by_cell(event, start, end).get(cell)
        if amounts is None:
            continue
        item = Item(
            event.get("measured_by") == "gateway",
            event["model"],
            owner(event),
            amounts,
            lacks_prefill=event.get("prefill_seconds") is None,
            lacks_decode=event.get("decode_seconds") is None,
            says_cached="cached_prompt_tokens" in event,
        )
        item = item._replace(
            lacks_prefill=item.prompt > 0 and item.lacks_prefill,
            lacks_decode=item.completion > 0 and item.lacks_decode,
        )
        alike[hour.shares(event), item.gateway, item.model, item.owner].append(item)
    items: dict[Unit, list[Item]] = defaultdict(list)
    # Engine events first: where gateway events belong is read off them.
    for gateway in (False, True):
        for (among, is_gateway, *_), own in alike.items():
            if is_gateway == gateway:
                for unit, part in divided(added(own), among, items).items():
                    if any(part.amounts.values()):
                        items[unit].append(part)
    return items


def hour_weights(book: Book, cell: int) -> dict[str, Fraction]:
    """The catalog's weights at the hour's start."""
    valid = book.at("weights", cell * HOUR_US)
    row = valid[0] if valid else {}
    return {name: exact(row.get(name, 1)) for name in CLASSES}


def dimensions(model: str, key: tuple[Any, ...]) -> dict[str, Any]:
    named = dict(zip(OWNERS, key, strict=True))
    tags = dict(named.pop("tags") or ())
    return {"model": model} | named | {f"tag:{name}": value for name, value in tags.items()}


def unit_rows(
    cell: int, unit: Unit, done: Settled, costs: dict[Gpu, int], hour: Hour, group_by: Sequence[str]
) -> list[Row]:
    rows = []
    deployment = unit[1] or None if unit[0] != "gpu" else None
    nothing = dict.fromkeys(CLASSES, 0)
    for (model, key), amounts in done.amounts.items():
        named = dimensions(model, key) | {"deployment": deployment}
        spent = done.costs.get((model, key), nothing)
        if not any(amounts[name] for name in SHOWN):
            continue
        if unit[0] == "none" or not {"gpu", "host"} & set(group_by):
            tokens = sum(amounts[name] for name in CLASSES)
            rows.append(Row(cell, named, amounts, spent, tokens if unit[0] == "none" else 0))
            continue
        own = [piece for piece in hour.pieces if piece.unit == unit]
        gpus = sorted({piece.gpu for piece in own}, key=gpu_text)
        times = [sum(piece.us for piece in own if piece.gpu == gpu) for gpu in gpus]
        amount_parts = {name: shares(amount, times) for name, amount in amounts.items()}
        cost_parts = {name: shares(cost, [costs[gpu] for gpu in gpus]) for name, cost in spent.items()}
        for number, gpu in enumerate(gpus):
            hosts = {piece.place[0] for piece in own if piece.gpu == gpu and piece.place[0] is not None}
            host = min(hosts, default=None)
            rows.append(
                Row(
                    cell,
                    named | {"gpu": gpu_text(gpu), "host": host},
                    {name: parts[number] for name, parts in amount_parts.items()},
                    {name: parts[number] for name, parts in cost_parts.items()},
                    0,
                )
            )
    return rows


def grouped(
    rows: list[Row], group_by: Sequence[str], step: str | None, start: int, end: int
) -> list[dict[str, Any]]:
    groups: dict[tuple[int, tuple[Any, ...]], list[Row]] = defaultdict(list)
    for row in rows:
        since = max(start, step_bounds(row.cell * HOUR_US, step)[0]) if step else start
        groups[since, tuple(row.dimensions.get(name) for name in group_by)].append(row)
    found = sorted(groups, key=lambda one: (one[0], [(part is not None, part or "") for part in one[1]]))
    return [
        {
            "key": dict(zip(group_by, key, strict=True)),
            "start": text_of(since),
            "end": text_of(min(end, step_bounds(since, step)[1]) if step else end),
            **fields(groups[since, key], sum(sum(row.costs.values()) for row in groups[since, key])),
        }
        for since, key in found
    ]


def step_bounds(moment: int, step: str) -> tuple[int, int]:
    """The UTC hour, day or month that a moment lies in."""
    when = EPOCH + timedelta(microseconds=moment)
    when = when.replace(minute=0, second=0, microsecond=0)
    if step == "hour":
        first, after = when, when + timedelta(hours=1)
    elif step == "day":
        first = when.replace(hour=0)
        after = first + timedelta(days=1)
    else:
        first = when.replace(hour=0, day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    return us(first), us(after)


def fields(rows: list[Row], cost_pico: int, *, always: bool = False) -> dict[str, Any]:
    """What a row and the total say."""
    tokens = {name: sum(row.amounts[name] for row in rows) for name in SHOWN}
    tokens["total"] = sum(tokens[name] for name in CLASSES)
    tokens["unpriced"] = sum(row.unpriced for row in rows)
    priced = tokens["total"] - tokens["unpriced"]
    known = always or cost_pico > 0 or priced > 0 or not tokens["unpriced"]
    by_class = {name: usd(sum(row.costs[name] for row in rows)) for name in CLASSES}
    return {
        "tokens": tokens,
        "cost_usd": usd(cost_pico) if known else None,
        "cost_usd_by_class": by_class,
        "cost_per_million_tokens_usd": ratio(cost_pico, priced),
    }


def usd(amount_pico: int) -> Decimal:
    return Decimal(amount_pico).scaleb(-12)


def seconds(time_us: int) -> Decimal:
    return Decimal(time_us).scaleb(-6)


def ratio(cost_pico: int, tokens: int) -> Decimal | None:
    """USD a million tokens, to 50 digits."""
    if not tokens:
        return None
    with localcontext(prec=50):
        return Decimal(cost_pico).scaleb(-6) / Decimal(tokens)
