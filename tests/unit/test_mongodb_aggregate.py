"""What the module mongodb_aggregate returns and refuses."""

from __future__ import annotations

from datetime import UTC, datetime

from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_aggregate as module


def test_documents_become_plain_values() -> None:
    class ObjectId:
        def __str__(self) -> str:
            return "65f0"

    document = {
        "_id": ObjectId(),
        "ts": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "n": [1, 2.5, None, True],
        "s": {"k": "v"},
    }
    assert module.plain(document) == {
        "_id": "65f0",
        "ts": "2026-01-02T03:04:05Z",
        "n": [1, 2.5, None, True],
        "s": {"k": "v"},
    }


def test_names_stages_that_write() -> None:
    assert module.writing_stages([{"$match": {}}, {"$merge": "x"}, {"$out": "y"}]) == ["$merge", "$out"]
    assert module.writing_stages([{"$count": "n"}]) == []
