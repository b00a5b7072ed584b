"""The module mongodb_write_check, against a store that takes writes, and against one whose disk is full."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_write_check as module
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from testing.store import DATABASE, Store

from .small_disk import DISK_MIB, TMPFS, mounted


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with mounted(tmp_path / "disk", *TMPFS) as place:
        yield place


def asked(store: Store, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """What the module says."""
    with (
        patch_module_args({"store": {"url": store.url}, "database": DATABASE, **arguments}),
        pytest.raises(SystemExit),
    ):
        module.main()
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


def fill(client: MongoClient[dict[str, Any]]) -> None:
    """Store more than the disk can hold."""
    for _ in range(2 * DISK_MIB):
        client[DATABASE]["kept"].insert_one({"filling": os.urandom(2**20)})


def test_it_writes_one_document_however_often(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.plain(tmp_path).running() as store, store.client() as client:
        dry = asked(store, capsys, _ansible_check_mode=True)
        assert (dry["written"], client[DATABASE].list_collection_names()) == (False, [])
        for _ in range(2):
            said = asked(store, capsys)
            assert (said["changed"], said["written"]) == (False, True)
        assert client[DATABASE]["write_check"].count_documents({}) == 1


def test_a_full_disk_is_named_though_the_store_answers(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.plain(disk).running() as store, store.client() as client:
        asked(store, capsys)
        with pytest.raises(PyMongoError):
            fill(client)
        client.admin.command("ping")
        said = asked(store, capsys)
        assert said["failed"]
        assert said["msg"].startswith("MongoDB at 127.0.0.1:")
