"""The flows of fleet.yml as firewall rules."""

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleet.model import Fleet, Flow, load
from lab import firewall
from lab.settings import from_environment

FLEET = load(Path(__file__).parents[2] / "fleet.yml")
SETTINGS = from_environment({}, FLEET)
HOSTS = {
    "kafka-1": ("kafka", IPv4Address("10.0.1.10")),
    "kafka-2": ("kafka", IPv4Address("10.0.1.14")),
    "mongo-1": ("mongo", IPv4Address("10.0.1.11")),
    "processor-1": ("processor", IPv4Address("10.0.1.12")),
}
ROLES = ("kafka", "mongo", "processor", "all")
flows = st.lists(
    st.fixed_dictionaries(
        {
            "from": st.sampled_from((*ROLES, "operator")),
            "to": st.sampled_from(ROLES),
            "port": st.sampled_from((22, 8080, 9092)),
        }
    ).map(Flow.model_validate),
    max_size=6,
)


def test_the_fleets_flows() -> None:
    between, operator, registry = firewall.chains(SETTINGS, FLEET, HOSTS)
    assert between.hook == "DOCKER-USER -o lab-lab -j LAB-lab"
    assert between.rules == (
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-s 10.0.1.12/32 -d 10.0.1.10/32 -p tcp -m tcp --dport 9092 -j RETURN",
        "-s 10.0.1.12/32 -d 10.0.1.14/32 -p tcp -m tcp --dport 9092 -j RETURN",
        *(
            f"-s {source}/32 -d {target}/32 -p tcp -m tcp --dport {port} -j RETURN"
            for port in (9093, 29092)
            for source, target in (("10.0.1.10", "10.0.1.14"), ("10.0.1.14", "10.0.1.10"))
        ),
        "-s 10.0.1.12/32 -d 10.0.1.11/32 -p tcp -m tcp --dport 27017 -j RETURN",
        "-j DROP",
    )
    assert operator.hook == "OUTPUT -o lab-lab -j LAB-lab-OPERATOR"
    assert "-d 10.0.1.12/32 -p tcp -m tcp --dport 8080 -j RETURN" in operator.rules
    assert operator.rules[-1] == "-j DROP"
    assert registry.rules == ("-d 10.0.1.1/32 -p tcp -m tcp --dport 15001 -j ACCEPT",)


@given(flows=flows)
def test_a_rule_stands_there_exactly_if_a_flow_allows_it(flows: list[Flow]) -> None:
    fleet: Fleet = FLEET.model_copy(update={"flows": tuple(flows)})
    between, operator, _ = firewall.chains(SETTINGS, fleet, HOSTS)
    for port in (22, 8080, 9092):
        for target_role, target in HOSTS.values():
            opened = any(
                flow.source == "operator" and flow.target in (target_role, "all") and flow.port == port
                for flow in flows
            )
            assert opened == (f"-d {target}/32 -p tcp -m tcp --dport {port} -j RETURN" in operator.rules)
            for source_role, source in HOSTS.values():
                opened = source != target and any(
                    flow.source in (source_role, "all")
                    and flow.target in (target_role, "all")
                    and flow.port == port
                    for flow in flows
                )
                rule = f"-s {source}/32 -d {target}/32 -p tcp -m tcp --dport {port} -j RETURN"
                assert opened == (rule in between.rules)


@given(flows=flows)
def test_what_no_flow_names_is_dropped(flows: list[Flow]) -> None:
    fleet: Fleet = FLEET.model_copy(update={"flows": tuple(flows)})
    for chain in firewall.chains(SETTINGS, fleet, HOSTS)[:2]:
        assert chain.rules[-1] == "-j DROP"
        assert len(set(chain.rules)) == len(chain.rules)
        assert all(re.search(r"--dport \d+ -j RETURN$", rule) for rule in chain.rules[1:-1])


def test_a_network_outside_is_let_in_by_its_flow_alone() -> None:
    outside = {"gpu_hosts": (IPv4Network("198.51.100.0/24"), IPv4Network("203.0.113.7/32")), "gateways": ()}
    fleet: Fleet = FLEET.model_copy(update={"outside": outside})
    between, operator, _ = firewall.chains(SETTINGS, fleet, HOSTS)
    assert [rule for rule in between.rules if rule.endswith("ACCEPT")] == [
        "-s 198.51.100.0/24 -d 10.0.1.10/32 -p tcp -m tcp --dport 9092 -j ACCEPT",
        "-s 198.51.100.0/24 -d 10.0.1.14/32 -p tcp -m tcp --dport 9092 -j ACCEPT",
        "-s 203.0.113.7/32 -d 10.0.1.10/32 -p tcp -m tcp --dport 9092 -j ACCEPT",
        "-s 203.0.113.7/32 -d 10.0.1.14/32 -p tcp -m tcp --dport 9092 -j ACCEPT",
    ]
    assert between.rules[-1] == "-j DROP"
    assert operator == firewall.chains(SETTINGS, FLEET, HOSTS)[1]


def test_names_fit_into_what_iptables_takes() -> None:
    longest = from_environment({"LAB_NAME": "a" * 11}, FLEET)
    assert all(len(chain.name) <= 28 for chain in firewall.chains(longest, FLEET, HOSTS))
