"""What an image is built from: a folder with a Dockerfile, settings, and a parent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lab.images import context

CONTEXTS = Path(__file__).parent / "contexts"
ENGINE_PREFIX = "gpu-token-lab"


@dataclass(frozen=True)
class Recipe:
    """One image. ``settings`` reach the Dockerfile as build arguments and prepare.sh as environment."""

    name: str
    repository: str
    version: str
    settings: Mapping[str, str] = field(default_factory=dict)
    parent: "Recipe | None" = None

    @property
    def folder(self) -> Path:
        """Where its Dockerfile lies."""
        return CONTEXTS / self.name

    @cached_property
    def digest(self) -> str:
        """Hash of all inputs, the parent's included."""
        return context.digest(self.folder, self.settings, self.parent.digest if self.parent else "")

    @property
    def tag(self) -> str:
        """The version, the word that tells it from the official image, and the hash of the inputs."""
        return f"{self.version}-built.{self.digest[:12]}"

    @property
    def reference(self) -> str:
        """``repository:tag`` inside the lab's registry."""
        return f"{self.repository}:{self.tag}"

    @property
    def engine_name(self) -> str:
        """Its name in the host's engine, under a prefix that nothing else uses."""
        return f"{ENGINE_PREFIX}/{self.name}:{self.tag}"
