import socket
from typing import Any

import bson
import pytest
from gpu_token_processor.store.contract import DocumentsRefused, StoreUnavailable
from gpu_token_processor.store.failures import translate
from gpu_token_processor.store.mongo import MongoEventStore
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WTimeoutError,
)


@pytest.mark.parametrize(
    "error",
    [
        ServerSelectionTimeoutError("no server"),
        AutoReconnect("closed"),
        NotPrimaryError("not primary"),
        ExecutionTimeout("slow", 50),
        WTimeoutError("slow", 64),
        OperationFailure("not authorized", 13),
        OperationFailure("authentication failed", 18),
        OperationFailure("disk full", 14031),
        OperationFailure("unknown to us", 99_999),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert isinstance(translate(error), StoreUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        DocumentTooLarge("17 MB"),
        OverflowError("8-byte ints"),
        OperationFailure("nested too deep", 15),
        OperationFailure("validation", 121),
        OperationFailure("too large", 10334),
    ],
)
def test_what_can_never_be_stored_is_refused(error: Exception) -> None:
    assert isinstance(translate(error), DocumentsRefused)


def test_a_message_is_brief() -> None:
    long = "mongo-1:27017: timed out (configured timeouts: socketTimeoutMS: 1), Timeout: 3.0s, Topology: <…>"
    assert str(translate(AutoReconnect(long))) == "AutoReconnect: mongo-1:27017: timed out"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            OperationFailure("Authentication failed.", 18),
            "MONGO_PASSWORD_FILE: Authentication",
        ),
        (OperationFailure("not authorized", 13), "check MONGO_USERNAME: not"),
        (AutoReconnect("SSL handshake failed: …"), "check MONGO_CA_FILE and MONGO_URL: SSL"),
    ],
)
def test_login_rights_and_tls_are_outages_with_a_remedy(error: Exception, remedy: str) -> None:
    meaning = translate(error)
    assert isinstance(meaning, StoreUnavailable)
    assert remedy in str(meaning)


def test_a_store_that_stands_still_is_no_matter_of_certificates() -> None:
    """Somebody takes its connections, and nobody speaks."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/?tls=true&connectTimeoutMS=200"
        with (
            MongoClient[Any](url, serverSelectionTimeoutMS=1000) as client,
            pytest.raises(ServerSelectionTimeoutError) as caught,
        ):
            client.admin.command("ping")
    said = str(translate(caught.value))
    assert said.startswith("ServerSelectionTimeoutError: MongoDB does not answer: ")
    assert "timed out" in said


class Replies:
    """A database that gives one reply."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.reply = reply
        self.commands: list[dict[str, Any]] = []

    def command(self, command: dict[str, Any]) -> dict[str, Any]:
        bson.encode(command)
        self.commands.append(command)
        return self.reply


def store(reply: dict[str, Any]) -> tuple[MongoEventStore, Replies]:
    made = MongoEventStore(MongoClient("mongodb://unused", connect=False), "gpu_token")
    replies = Replies(reply)
    made._database = replies  # type: ignore[assignment]
    return made, replies


DOCUMENTS = [{"_id": "a"}, {"_id": "b"}, {"_id": "c"}]


def test_a_write_is_unordered_and_durable() -> None:
    made, replies = store({"n": 3})
    assert made.insert("token_usage", DOCUMENTS).stored == 3
    assert replies.commands == [
        {
            "insert": "token_usage",
            "documents": DOCUMENTS,
            "ordered": False,
            "writeConcern": {"w": "majority", "j": True},
        }
    ]


def test_errors_of_single_documents_are_told_apart() -> None:
    made, _ = store(
        {"n": 1, "writeErrors": [{"index": 0, "code": 11000}, {"index": 2, "code": 121, "errmsg": "no"}]}
    )
    outcome = made.insert("token_usage", DOCUMENTS)
    assert (outcome.stored, outcome.duplicates, outcome.refused) == (1, [0], [(2, "no")])


@pytest.mark.parametrize(
    "reply",
    [
        {"n": 2, "writeErrors": [{"index": 0, "code": 189, "errmsg": "primary stepped down"}]},
        {"n": 3, "writeConcernError": {"code": 91, "errmsg": "shutdown in progress"}},
    ],
)
def test_a_write_that_may_not_last_is_not_done(reply: dict[str, Any]) -> None:
    with pytest.raises(StoreUnavailable):
        store(reply)[0].insert("token_usage", DOCUMENTS)


def test_a_later_reading_that_is_kept_is_no_failure() -> None:
    metric = {"_id": "m", "gpu_id": "g", "ts": 1, "power_w": 5}
    made, replies = store({"n": 0, "writeErrors": [{"index": 0, "code": 11000}]})
    made.put_latest([metric])
    assert replies.commands[0]["updates"] == [
        {"q": {"_id": "g", "$or": [{"ts": {"$lt": 1}}]}, "u": {**metric, "_id": "g"}, "upsert": True}
    ]
    with pytest.raises(StoreUnavailable):
        store({"n": 0, "writeErrors": [{"index": 0, "code": 6}]})[0].put_latest([metric])
