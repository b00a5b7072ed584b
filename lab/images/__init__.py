"""The images of the lab: taken from the official registry where it answers, otherwise built from packages."""

from lab.images.choose import ImageSet, ensure
from lab.images.store import registry_root

__all__ = ["ImageSet", "ensure", "registry_root"]
