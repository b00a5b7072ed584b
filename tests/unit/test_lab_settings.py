"""The settings of an environment."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fleet.model import load
from lab.errors import LabError
from lab.settings import Settings, fleet_file, from_environment

ROOT = Path(__file__).parents[2]
FLEET = load(ROOT / "fleet.yml")


def settings(*, root: Path = ROOT, **environ: str) -> Settings:
    """The settings that an environment gives."""
    return from_environment(environ, FLEET, root)


def test_the_defaults(tmp_path: Path) -> None:
    chosen = settings(root=tmp_path)
    assert chosen.state == tmp_path / ".lab" / "lab"
    assert chosen.subnet == FLEET.network.subnet_cidr
    assert chosen.registry == "10.0.1.1:15001"
    assert chosen.ec2_url == "http://127.0.0.1:15000"
    assert chosen.image_mode == "auto"
    assert chosen.cache == Path.home() / ".cache" / "gpu-token-lab"
    assert fleet_file({}) == ROOT / "fleet.yml"


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings(LAB_NAME="", LAB_SUBNET="") == settings()


def test_two_environments_share_no_name() -> None:
    one, other = settings(), settings(LAB_NAME="molecule", LAB_SUBNET="10.0.2.0/24")
    for attribute in ("state", "network", "bridge", "registry"):
        assert getattr(one, attribute) != getattr(other, attribute)
    assert one.container("kafka-1") != other.container("kafka-1")


def test_a_subnet_outside_the_fleets_network_has_one_of_its_own() -> None:
    assert settings(LAB_SUBNET="10.0.2.0/24").vpc == FLEET.network.vpc_cidr
    assert settings(LAB_SUBNET="172.20.3.0/24").vpc == IPv4Network("172.20.0.0/16")


def test_the_bridges_name_fits() -> None:
    assert len(settings(LAB_NAME="a" * 11).bridge) == 15


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LAB_NAME", "My-Lab", 'LAB_NAME is "My-Lab": use up to 11 small letters and digits'),
        ("LAB_NAME", "a" * 12, "use up to 11"),
        ("LAB_NAME", "../x", "use up to 11"),
        ("LAB_SUBNET", "10.0.0.1/24", 'LAB_SUBNET is "10.0.0.1/24", which is no IPv4 network'),
        ("LAB_SUBNET", "10.0.0.0/30", "LAB_SUBNET is 10.0.0.0/30: use a prefix from /16 to /27."),
        ("LAB_IMAGES", "mine", 'LAB_IMAGES is "mine": use one of auto, official, built.'),
        ("LAB_EC2_PORT", "http", 'LAB_EC2_PORT is "http": give a port from 1 to 65535.'),
        ("LAB_REGISTRY_PORT", "0", 'LAB_REGISTRY_PORT is "0": give a port from 1 to 65535.'),
    ],
)
def test_a_wrong_setting_is_one_sentence(variable: str, value: str, words: str) -> None:
    with pytest.raises(LabError) as caught:
        from_environment({variable: value}, FLEET)
    assert words in str(caught.value)
