"""MIG: one card as several GPUs, its slices.

A slice is known by its card's uuid and its GPU instance, since that is all that every source tells: DCGM does
not know the slice's own `MIG-` uuid. The identity is `MIG-<uuid of the card>:<GPU instance>`, such as
`MIG-GPU-5b2f…:7`. No card has it, since a card's uuid begins with `GPU-`. No other slice has it, since the
part behind the last colon is percent-encoded. The catalogue and usage events name the slice by it too.
"""

import re
from urllib.parse import quote

# Of a compute instance, `1c.3g.71gb`: the part before the first dot says how it is divided further.
_COMPUTE_PART = re.compile(r"^\d+c\.")
_SEVENTHS = 7
_FOURTHS = 4


def slice_uuid(card: str, gpu_instance_id: str) -> str:
    """The identity of the slice with this GPU instance id of the card."""
    return f"MIG-{card}:{quote(gpu_instance_id, safe='')}"


def profile_of_gpu_instance(profile: str) -> str:
    """`3g.71gb` for `1c.3g.71gb`: the profile of the GPU instance, by which the processor knows its share."""
    return _COMPUTE_PART.sub("", profile)


def share_of_card(profile: str | None, card_name: str | None) -> float:
    """What part of its card a slice is: 2g.20gb is two sevenths, of an A30 two quarters. 1 if unknown.

    The rule is the ledger's. Here it divides a price that the settings give, since the ledger takes the price
    of a reading as it is.
    """
    parts = (profile or "").split("g.", 1)[0]
    whole = _FOURTHS if "A30" in (card_name or "") else _SEVENTHS
    if parts not in map(str, range(1, whole)):
        return 1.0
    return int(parts) / whole
