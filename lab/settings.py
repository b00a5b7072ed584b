"""The settings of one lab environment, taken from LAB_* variables and fleet.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal, get_args

from fleet.model import Fleet
from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
LABEL = "gpu-token.lab"
ImageMode = Literal["auto", "official", "built"]


@dataclass(frozen=True)
class Settings:
    """One environment: its name, its network, its ports and its folders."""

    name: str
    subnet: IPv4Network
    vpc: IPv4Network
    ec2_port: int
    registry_port: int
    image_mode: ImageMode
    cache: Path
    root: Path

    @property
    def state(self) -> Path:
        """The folder of everything that this environment writes, besides the cache."""
        return self.root / ".lab" / self.name

    @property
    def host_address(self) -> IPv4Address:
        """The address at which the machines reach this computer."""
        return self.subnet[1]

    @property
    def network(self) -> str:
        """The name of the engine's network."""
        return f"gpu-token-{self.name}"

    @property
    def bridge(self) -> str:
        """The name of the network's interface on this computer (15 letters at most)."""
        return f"lab-{self.name}"

    @property
    def registry(self) -> str:
        """host:port of the image registry as the machines reach it."""
        return f"{self.host_address}:{self.registry_port}"

    @property
    def ec2_url(self) -> str:
        """The endpoint of the EC2 API."""
        return f"http://127.0.0.1:{self.ec2_port}"

    def container(self, machine: str) -> str:
        """The name of a machine's container."""
        return f"{self.network}-{machine}"

    def volume(self, machine: str, purpose: str) -> str:
        """The name of one of a machine's volumes."""
        return f"{self.container(machine)}-{purpose}"


def fleet_file(environ: Mapping[str, str], root: Path = ROOT) -> Path:
    """The fleet that the lab brings up: LAB_FLEET, or fleet.yml of this checkout."""
    return Path(environ.get("LAB_FLEET") or root / "fleet.yml")


def from_environment(environ: Mapping[str, str], fleet: Fleet, root: Path = ROOT) -> Settings:
    """The settings; LAB_* variables that are unset or empty take their defaults."""
    name = environ.get("LAB_NAME") or "lab"
    if not re.fullmatch(r"[a-z][a-z0-9]{0,10}", name):
        raise LabError(
            f'LAB_NAME is "{name}": use up to 11 small letters and digits, a letter first, '
            "since it becomes part of a network interface's name."
        )
    subnet = _subnet(environ.get("LAB_SUBNET") or str(fleet.network.subnet_cidr))
    return Settings(
        name=name,
        subnet=subnet,
        vpc=fleet.network.vpc_cidr if subnet.subnet_of(fleet.network.vpc_cidr) else _around(subnet),
        ec2_port=_port(environ, "LAB_EC2_PORT", 15000),
        registry_port=_port(environ, "LAB_REGISTRY_PORT", 15001),
        image_mode=_image_mode(environ),
        cache=Path(environ.get("LAB_CACHE") or "~/.cache/gpu-token-lab").expanduser().resolve(),
        root=root,
    )


def _subnet(text: str) -> IPv4Network:
    try:
        subnet = IPv4Network(text)
    except ValueError as error:
        raise LabError(
            f'LAB_SUBNET is "{text}", which is no IPv4 network: '
            "write its own address and a prefix, for example 10.0.2.0/24."
        ) from error
    if not 16 <= subnet.prefixlen <= 27:
        raise LabError(f"LAB_SUBNET is {subnet}: use a prefix from /16 to /27.")
    return subnet


def _image_mode(environ: Mapping[str, str]) -> ImageMode:
    text = environ.get("LAB_IMAGES") or "auto"
    modes: tuple[ImageMode, ...] = get_args(ImageMode)
    for mode in modes:
        if mode == text:
            return mode
    raise LabError(f'LAB_IMAGES is "{text}": use one of {", ".join(modes)}.')


def _around(subnet: IPv4Network) -> IPv4Network:
    return subnet.supernet(new_prefix=16)


def _port(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise LabError(f'{variable} is "{text}": give a port from 1 to 65535.')
    return int(text)
