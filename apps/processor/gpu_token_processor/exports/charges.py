"""What one day costs, by model, team and class of tokens, and what of it nobody used; in integers."""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gpu_token_processor.exports.days import Shape
from gpu_token_processor.ledger.cells import CLASSES
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.totals import Idle
from gpu_token_processor.ledger.usage import none_first

FLEET_IDLE = "fleet_idle"
LOADED_IDLE = "loaded_idle"
UNREPORTED = "unreported"

# All that GPUs cost, as the invoice has it: leased time that no reading covers too.
SHAPE = Shape(("model", "team"), "leased")


class ChargeKey(NamedTuple):
    """A class of tokens (cells.CLASSES) of a model and a team, or a kind of idle time without either."""

    meter: str
    model: str | None = None
    team: str | None = None


class Charge(NamedTuple):
    """Tokens, or microseconds of a GPU's idle time; and their cost in 1e-12 USD."""

    quantity: int
    cost_pico: int


Charges = dict[ChargeKey, Charge]


def charges_of(ledger: Ledger) -> Charges:
    """Of a ledger that was asked in SHAPE."""
    totals = ledger.totals()
    found: Charges = {}
    for (_, (model, team)), row in totals.rows.items():
        for meter, tokens, cost_pico in zip(CLASSES, row.tokens, row.cost_pico, strict=True):
            found[ChargeKey(meter, model, team)] = Charge(tokens, cost_pico)
    idle = Idle()
    for part in totals.idle.values():
        idle.include(part)
    found[ChargeKey(FLEET_IDLE)] = Charge(idle.fleet_us, idle.fleet_pico)
    found[ChargeKey(LOADED_IDLE)] = Charge(idle.loaded_us, idle.loaded_pico)
    found[ChargeKey(UNREPORTED)] = Charge(round(idle.unreported_us), idle.unreported_pico)
    return _in_order(found)


def difference(now: Mapping[ChargeKey, Charge], before: Iterable[Mapping[ChargeKey, Charge]]) -> Charges:
    """What must be added to all of `before` so that it makes up `now`."""
    sums: dict[ChargeKey, list[int]] = defaultdict(lambda: [0, 0])
    for sign, charges in ((1, now), *((-1, one) for one in before)):
        for key, charge in charges.items():
            for at, amount in enumerate(charge):
                sums[key][at] += sign * amount
    return _in_order({key: Charge(*amounts) for key, amounts in sums.items()})


def pack(charges: Charges) -> bytes:
    """To be kept."""
    rows = [[*key, *charge] for key, charge in charges.items()]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode())


def unpack(data: bytes) -> Charges:
    """The inverse."""
    return {ChargeKey(*row[:3]): Charge(*row[3:]) for row in json.loads(zlib.decompress(data))}


def _in_order(charges: Charges) -> Charges:
    """Without those that are nothing."""
    return {key: charges[key] for key in sorted(charges, key=none_first) if any(charges[key])}
