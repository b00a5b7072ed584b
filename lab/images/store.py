"""The image registry's storage on disk: where it is, and what it holds."""

from pathlib import Path


def registry_root(cache: Path) -> Path:
    """The storage folder (``storage.filesystem.rootdirectory``) below the cache."""
    return cache / "registry"


def holds(root: Path, repository: str, tag: str) -> bool:
    """True when the tag and the manifest it names are there; the registry writes the tag last."""
    registry = root / "docker" / "registry" / "v2"
    link = registry / "repositories" / repository / "_manifests" / "tags" / tag / "current" / "link"
    try:
        algorithm, _, value = link.read_text().strip().partition(":")
    except OSError:
        return False
    return (registry / "blobs" / algorithm / value[:2] / value / "data").is_file()
