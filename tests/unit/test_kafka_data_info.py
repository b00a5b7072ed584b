"""What the module kafka_data_info says of a data directory."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_data_info as info


def test_reads_the_ids_that_a_broker_wrote(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text(
        "#comment\nversion=1\ncluster.id=abc==\nnode.id=2\n", encoding="utf-8"
    )
    properties = info.read_properties(info.read_text(tmp_path / "meta.properties"))
    assert properties == {"version": "1", "cluster.id": "abc==", "node.id": "2"}


def test_names_files_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert info.foreign_names(tmp_path) == []
    (tmp_path / "WiredTiger").touch()
    assert info.foreign_names(tmp_path) == ["WiredTiger"]
    (tmp_path / "meta.properties").touch()
    assert info.foreign_names(tmp_path) == []


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert info.foreign_names(missing) == []
    assert not info.has_wrong_owner(missing, 1000)
    assert info.read_text(missing / "meta.properties") == ""


def test_finds_a_file_with_another_owner(tmp_path: Path) -> None:
    (tmp_path / "topic-0").mkdir()
    (tmp_path / "topic-0" / "0.log").touch()
    assert not info.has_wrong_owner(tmp_path, os.getuid())
    assert info.has_wrong_owner(tmp_path, os.getuid() + 1)
