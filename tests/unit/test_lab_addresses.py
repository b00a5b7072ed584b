"""The address plan."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.model import parse
from lab.addresses import FIRST_HOST, assign, pinned
from lab.errors import LabError

FLEET_YML = Path(__file__).parents[2] / "fleet.yml"
SUBNET = IPv4Network("10.0.1.0/24")
names = st.lists(st.from_regex(r"[a-z]{1,8}-[1-9]", fullmatch=True), unique=True, max_size=40)
hosts = st.integers(FIRST_HOST, 200).map(lambda offset: SUBNET[offset])


@given(machines=names, held=st.dictionaries(st.sampled_from(["old-1", "old-2", "old-3"]), hosts))
def test_every_machine_has_an_address_of_its_own(machines: list[str], held: dict[str, IPv4Address]) -> None:
    plan = assign(SUBNET, machines, {}, held)
    assert list(plan) == machines
    assert len(set(plan.values())) == len(machines)
    assert not set(plan.values()) & set(held.values())
    assert all(SUBNET[FIRST_HOST] <= address <= SUBNET[-2] for address in plan.values())


@given(machines=names)
def test_a_machine_keeps_what_it_holds(machines: list[str]) -> None:
    plan = assign(SUBNET, machines, {}, {})
    assert assign(SUBNET, [*machines, "new-1"], {}, plan) == plan | {
        "new-1": SUBNET[FIRST_HOST + len(machines)]
    }


def test_a_replaced_machine_gets_a_new_address() -> None:
    others = {"mongo-1": SUBNET[11]}
    assert assign(SUBNET, ["kafka-1"], {}, others, avoid=SUBNET[10]) == {"kafka-1": SUBNET[12]}


def test_a_fixed_address_is_kept_for_its_machine() -> None:
    plan = assign(SUBNET, ["kafka-1", "mongo-1"], {"mongo-1": SUBNET[10]}, {})
    assert plan == {"kafka-1": SUBNET[11], "mongo-1": SUBNET[10]}


def test_fixed_addresses_move_with_the_subnet() -> None:
    data = yaml.safe_load(FLEET_YML.read_text())
    data["roles"]["mongo"]["addresses"] = ["10.0.1.40"]
    assert pinned(parse(data), IPv4Network("10.0.2.0/24")) == {"mongo-1": IPv4Address("10.0.2.40")}


def test_a_full_subnet_is_a_sentence() -> None:
    with pytest.raises(LabError, match=r"10\.0\.1\.0/28 has no address left for m-6: set LAB_SUBNET"):
        assign(IPv4Network("10.0.1.0/28"), [f"m-{number}" for number in range(1, 7)], {}, {})
