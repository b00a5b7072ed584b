"""The module anonymous_access against stores and a broker that let anybody in, and ones that do not."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpu_token.pipeline.plugins.modules import anonymous_access as module
from confluent_kafka import Producer

from testing.authority import Authority
from testing.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with users, which runs in none of its forms yet."""
    folder = tmp_path_factory.mktemp("store")
    store = Store.secured(folder, Authority(folder, "ca"))
    store.first_start()
    return store


def said(store: Store, capsys: pytest.CaptureFixture[str], port: int | None = None) -> dict[str, Any]:
    """What the module says of it."""
    where = {"service": "mongodb", "host": "127.0.0.1", "port": port or store.settings.port}
    arguments = {**where, "ca_file": store.settings.ca_file}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_store_with_users_refuses(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.running():
        found = said(store, capsys)
    assert (found["plaintext"], found["tls"], found["changed"]) == ("refused", "refused", False)


def test_a_store_without_users_answers(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with replace(store, settings=replace(store.settings, authorization=False)).running():
        found = said(store, capsys)
    assert (found["plaintext"], found["tls"]) == ("refused", "answered")
    with store.without_users().running():
        found = said(store, capsys)
    assert found["failed"]
    assert "cannot be asked" in found["msg"]


def test_nobody_there_is_a_failure(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert said(store, capsys, port)["msg"].startswith(f"mongodb at 127.0.0.1:{port} cannot be asked")


def test_a_broker_without_users_answers() -> None:
    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    with socket.create_connection((broker.host, broker.port)) as connection:
        assert module.ask(connection, "kafka") == "answered"
