"""What the registry's storage holds."""

from pathlib import Path

from lab.images import store

from .lab_images import stored


def test_tag_without_its_manifest_is_not_held(tmp_path: Path) -> None:
    stored(tmp_path, "apache/kafka", "1")
    assert store.holds(tmp_path, "apache/kafka", "1")
    assert not store.holds(tmp_path, "apache/kafka", "2")
    (tmp_path / "docker/registry/v2/blobs/sha256/ab/abcd/data").unlink()
    assert not store.holds(tmp_path, "apache/kafka", "1")
