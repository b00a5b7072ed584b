"""Decides between official and built images, and has them ready."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.errors import LabError
from lab.images import official, recipes, store
from lab.images.builder import Builder
from lab.settings import ImageMode

if TYPE_CHECKING:
    from fleet.model import Fleet

Source = Literal["built", "official"]
ASK_SECONDS = 3.0
ENGINE_LOCK = Path("/run/lock/gpu-token-lab-images.lock")


@dataclass(frozen=True)
class ImageSet:
    """``machine`` is an image of the host's engine. The others are ``repository:tag`` inside the lab's
    registry when built, and the fleet's own references when official."""

    machine: str
    kafka: str
    mongo: str
    python: str
    source: Source


def ensure(cache: Path, mode: ImageMode, fleet: "Fleet", report: Callable[[str], None]) -> ImageSet:
    """Have every image of the lab ready; the second call finds all of them and changes nothing.

    ``mode`` is LAB_IMAGES. LAB_BASE may name an image to pull as the machine's base.
    """
    with _locked(report):
        root = store.registry_root(cache)
        builder = Builder(root, report)
        source = _source(root, mode, fleet, report)
        machine = builder.in_engine(recipes.machine(os.environ.get("LAB_BASE") or None))
        if source == "official":
            images = fleet.images
            return ImageSet(machine, images.kafka, images.mongo, images.python, source)
        wanted = recipes.services(fleet)
        built = ImageSet(
            machine,
            python=builder.in_store(wanted.python),
            kafka=builder.in_store(wanted.kafka),
            mongo=builder.in_store(wanted.mongo),
            source=source,
        )
        for recipe in (wanted.kafka, wanted.mongo, wanted.python, recipes.base()):
            builder.drop(recipe)
        return built


def _source(root: Path, mode: ImageMode, fleet: "Fleet", report: Callable[[str], None]) -> Source:
    """One line says which, and why."""
    if mode == "official":
        report("Images: official, as LAB_IMAGES says.")
        return "official"
    if mode == "built":
        report("Images: built from packages, as LAB_IMAGES says.")
        return "built"
    if _all_stored(root, fleet):
        # A registry that comes and goes must not change what a standing fleet runs.
        report("Images: built from packages earlier; LAB_IMAGES=official would pull them.")
        return "built"
    images = fleet.images
    for reference in (images.kafka, images.mongo, images.python):
        if not official.is_served(reference, ASK_SECONDS):
            report(f"Images: built from packages, since no registry serves {reference} here.")
            return "built"
    report("Images: official, since their registry answers.")
    return "official"


def _all_stored(root: Path, fleet: "Fleet") -> bool:
    try:
        wanted = recipes.services(fleet)
    except LabError:
        return False
    return all(
        store.holds(root, recipe.repository, recipe.tag)
        for recipe in (wanted.python, wanted.kafka, wanted.mongo)
    )


@contextmanager
def _locked(report: Callable[[str], None]) -> Iterator[None]:
    """Two labs that come up at once build once; the engine is one, whatever their caches."""
    ENGINE_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with ENGINE_LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Images: waiting for another lab to finish with them …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
