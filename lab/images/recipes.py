"""The images of the lab as data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.images.mirror import debian_mirrors
from lab.images.recipe import CONTEXTS, ENGINE_PREFIX, Recipe
from lab.images.reference import version_numbers

if TYPE_CHECKING:
    from fleet.model import Fleet

SUITE = "trixie"
SUITE_PYTHON = (3, 13)
OLDEST_KAFKA = (4, 0, 0)


@dataclass(frozen=True)
class Services:
    """What runs on the machines."""

    python: Recipe
    kafka: Recipe
    mongo: Recipe


def base() -> Recipe:
    """Debian's minimal system, the parent of everything that is built."""
    archive, security = debian_mirrors()
    settings = {"SUITE": SUITE, "MIRROR": archive, "SECURITY_MIRROR": security}
    return Recipe("base", f"{ENGINE_PREFIX}/base", SUITE, settings)


def machine(pulled_base: str | None) -> Recipe:
    """A bare machine, on ``pulled_base`` (say ubuntu:24.04) where one is named."""
    settings = {"BASE_IMAGE": pulled_base} if pulled_base else {}
    return Recipe("machine", f"{ENGINE_PREFIX}/machine", "1", settings, None if pulled_base else base())


def services(fleet: "Fleet") -> Services:
    """Stand-ins of the fleet's images, at its versions; refuses a version that packages do not give."""
    kafka = version_numbers("images.kafka", fleet.images.kafka, 3)[:3]
    if kafka < OLDEST_KAFKA:
        raise LabError(
            f"images.kafka is {fleet.images.kafka!r}, but Kafka can be built from packages from "
            f"{_dotted(OLDEST_KAFKA)} on: pin a later one, or set LAB_IMAGES=official."
        )
    if version_numbers("images.python", fleet.images.python, 2)[:2] != SUITE_PYTHON:
        raise LabError(
            f"images.python is {fleet.images.python!r}, but the Python that can be built from packages is "
            f"{_dotted(SUITE_PYTHON)}: pin python:{_dotted(SUITE_PYTHON)}-slim, or set LAB_IMAGES=official."
        )
    foundation = base()
    minor = _dotted(SUITE_PYTHON)
    python = Recipe("python", f"{ENGINE_PREFIX}/python", minor, {"PYTHON_MINOR": minor}, foundation)
    version = _dotted(kafka)
    return Services(
        python=python,
        kafka=Recipe("kafka", "apache/kafka", version, {"KAFKA_VERSION": version}, foundation),
        mongo=Recipe(
            "mongo", "secantusdb/mongo-compat", _locked("secantusdb"), {"PYTHON_MINOR": minor}, python
        ),
    )


def _locked(package: str) -> str:
    """The version that the mongo image's requirements pin."""
    for line in (CONTEXTS / "mongo" / "requirements.in").read_text().splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise LabError(f"{package} is not pinned in the mongo image's requirements.in.")


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
