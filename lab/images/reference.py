"""Image references, as ``docker pull`` reads them."""

import re
from dataclasses import dataclass

from lab.errors import LabError

DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True)
class Reference:
    """A parsed reference: registry host, repository path, tag and digest (one of them may be empty)."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def manifest_url(self) -> str:
        """Where the registry serves this image's manifest; a digest decides over a tag."""
        return f"https://{self.registry}/v2/{self.repository}/manifests/{self.digest or self.tag}"

    @property
    def tags_url(self) -> str:
        """Where the registry lists the repository's tags."""
        return f"https://{self.registry}/v2/{self.repository}/tags/list"


def parse(reference: str) -> Reference:
    """Split a reference; Docker Hub's short forms are written out."""
    rest, _, digest = reference.partition("@")
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, path = head, tail
    else:
        registry, path = DOCKER_HUB, rest if slash else f"library/{rest}"
    repository, _, tag = path.partition(":")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def version(setting: str, reference: str, parts: int) -> str:
    """The first numbers of the tag, e.g. 3 of ``apache/kafka:4.1.1`` -> 4.1.1; see version_numbers."""
    return ".".join(map(str, version_numbers(setting, reference, parts)[:parts]))


def version_numbers(setting: str, reference: str, at_least: int) -> tuple[int, ...]:
    """The dotted number that the tag begins with, e.g. ``apache/kafka:4.1.1`` -> (4, 1, 1).

    ``setting`` is the fleet's name of the reference, for the message.
    """
    match = re.match(r"\d+(\.\d+)*", parse(reference).tag)
    numbers = tuple(int(part) for part in match[0].split(".")) if match else ()
    if len(numbers) < at_least:
        raise LabError(
            f"{setting} is {reference!r}, whose tag does not begin with {at_least} numbers: "
            "name a version, or set LAB_IMAGES=official."
        )
    return numbers
