"""The module mongodb_users, and who may do what, against a store with users and TLS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_aggregate as aggregate
from ansible_collections.gpu_token.pipeline.plugins.modules import mongodb_users as module
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from testing.authority import Authority
from testing.mongo_compat import mongosh
from testing.store import ADMIN_PASSWORD, Store

OTHER_PASSWORD = "another-password-of-admin-00000002"
PROCESSOR = {
    "name": "processor",
    "database": "gpu_token",
    "roles": ["readWrite"],
    "password": "the-password-of-the-processor-003",
}
ADMIN = {"name": "admin", "database": "admin", "roles": ["root"], "password": ADMIN_PASSWORD}
UNAUTHORIZED, WRONG_PASSWORD = 13, 18

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with its administrator."""
    folder = tmp_path_factory.mktemp("store")
    store = Store.secured(folder, Authority(folder, "ca"))
    store.first_start()
    with store.running():
        yield store


@pytest.fixture
def store(running: Store) -> Iterator[Store]:
    """The store with nobody but its administrator, whose password is in a file."""
    (running.folder / "admin-password").write_text(ADMIN_PASSWORD)
    yield running
    with running.admin() as client:
        client["gpu_token"].command("dropAllUsersFromDatabase")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module; give what it says, in which no password may be."""

    def ask(which: Any, store: Store, *, named: bool = True, **arguments: Any) -> dict[str, Any]:
        login = {"username": "admin", "password_file": str(store.folder / "admin-password")}
        ca = {"ca_file": store.settings.ca_file} if store.settings.tls else {}
        where = {"url": store.url, **ca, **(login if named else {})}
        with patch_module_args({"store": where, **arguments}), pytest.raises(SystemExit):
            which.main()
        printed = capsys.readouterr().out
        for password in (ADMIN_PASSWORD, OTHER_PASSWORD, PROCESSOR["password"]):
            assert str(password) not in printed
        said: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return said

    return ask


def refusal(client: Any, database: str, **command: Any) -> int | None:
    """The code with which the store refuses a command; None if it does not."""
    with client:
        try:
            client[database].command(command)
        except OperationFailure as error:
            return error.code
    return None


def test_users_are_made_once(store: Store, run: Run) -> None:
    dry = run(module, store, users=[PROCESSOR, ADMIN], _ansible_check_mode=True)
    first, again = (run(module, store, users=[PROCESSOR, ADMIN]) for _ in range(2))
    assert dry["actions"] == first["actions"] == ["create user processor of gpu_token"]
    assert first["diff"] == {
        "before": {},
        "after": {
            "processor of gpu_token": {"roles": ["readWrite on gpu_token"], "password": "the wanted one"}
        },
    }
    assert (again["changed"], again["actions"], again["diff"]) == (False, [], {})


def test_a_dry_run_makes_nothing(store: Store, run: Run) -> None:
    run(module, store, users=[PROCESSOR], _ansible_check_mode=True)
    assert run(module, store, users=[PROCESSOR])["changed"]


def test_a_password_is_changed_and_only_then_taken(store: Store, run: Run) -> None:
    run(module, store, users=[PROCESSOR])
    changed = {**PROCESSOR, "password": OTHER_PASSWORD}
    said = run(module, store, users=[changed])
    assert said["actions"] == ["set password of user processor of gpu_token"]
    assert said["diff"]["before"]["processor of gpu_token"]["password"] == "another"
    old = store.client("processor", str(PROCESSOR["password"]), "gpu_token")
    assert refusal(old, "gpu_token", count="gpus") == WRONG_PASSWORD
    assert refusal(store.client("processor", OTHER_PASSWORD, "gpu_token"), "gpu_token", count="gpus") is None


def test_roles_are_put_right(store: Store, run: Run) -> None:
    run(module, store, users=[{**PROCESSOR, "roles": ["readWrite", "dbAdmin"]}])
    said = run(module, store, users=[PROCESSOR])
    assert said["actions"] == ["set roles of user processor of gpu_token"]
    assert run(module, store, users=[PROCESSOR])["actions"] == []


def test_the_administrator_changes_his_own_password(store: Store, run: Run) -> None:
    users = [PROCESSOR, {**ADMIN, "password": OTHER_PASSWORD}]
    assert run(module, store, users=users)["actions"][1:] == ["set password of user admin of admin"]
    # The file still holds the old one, as after a run that was cut off: the wanted one lets it go on.
    assert run(module, store, users=users)["actions"] == []
    (store.folder / "admin-password").write_text(OTHER_PASSWORD + "\n")
    assert run(module, store, users=users)["actions"] == []
    run(module, store, users=[ADMIN])


def test_a_password_that_nobody_knows_is_said(store: Store, run: Run) -> None:
    (store.folder / "admin-password").write_text(OTHER_PASSWORD)
    said = run(module, store, users=[PROCESSOR])
    assert "MongoDB takes neither the password of admin" in said["msg"]
    (store.folder / "admin-password").unlink()
    assert "run the role mongo, which writes it" in run(module, store, users=[PROCESSOR])["msg"]


def test_a_store_without_users_gets_them_and_keeps_its_data(tmp_path: Path, run: Run) -> None:
    store = Store.secured(tmp_path, Authority(tmp_path, "ca"))
    with store.without_users().running() as open_store:
        with open_store.client() as client:
            client["gpu_token"]["gpus"].insert_one({"name": "RTX 3090"})
        for expected in (["create user processor of gpu_token", "create user admin of admin"], []):
            said = run(module, open_store, named=False, users=[PROCESSOR, ADMIN])
            assert said["actions"] == expected
        another = {**PROCESSOR, "password": OTHER_PASSWORD}
        assert run(module, open_store, named=False, users=[another], _ansible_check_mode=True)["changed"]
    with store.running(), store.client("processor", str(PROCESSOR["password"]), "gpu_token") as client:
        assert [gpu["name"] for gpu in client["gpu_token"]["gpus"].find()] == ["RTX 3090"]


def test_the_processor_has_its_own_database_and_nothing_else(store: Store, run: Run) -> None:
    run(module, store, users=[PROCESSOR])

    def processor() -> Any:
        return store.client("processor", str(PROCESSOR["password"]), "gpu_token")

    assert refusal(processor(), "gpu_token", insert="token_usage", documents=[{"_id": 1}]) is None
    assert refusal(processor(), "gpu_token", find="token_usage") is None
    for database, command in (
        ("other", {"find": "token_usage"}),
        ("other", {"insert": "token_usage", "documents": [{"_id": 1}]}),
        ("admin", {"find": "system.users"}),
        ("admin", {"serverStatus": 1}),
        ("gpu_token", {"createUser": "friend", "pwd": OTHER_PASSWORD, "roles": ["readWrite"]}),
        ("gpu_token", {"updateUser": "processor", "roles": ["dbOwner"]}),
    ):
        assert refusal(processor(), database, **command) == UNAUTHORIZED, command


def test_who_does_not_log_in_gets_nothing(store: Store) -> None:
    for command in ({"find": "gpus"}, {"insert": "gpus", "documents": [{"_id": 1}]}, {"usersInfo": 1}):
        assert refusal(store.client(), "gpu_token", **command) == UNAUTHORIZED
    assert refusal(store.client("admin", OTHER_PASSWORD), "admin", listDatabases=1) == WRONG_PASSWORD


def test_nobody_is_answered_without_tls_or_with_another_authority(store: Store, tmp_path: Path) -> None:
    impostor = Store.secured(tmp_path, Authority(tmp_path, "impostor"))
    for tls in ({}, impostor.tls):
        client = type(store.client())(store.url, serverSelectionTimeoutMS=1000, **tls)
        with client, pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("ping")


def test_the_role_asks_with_the_file_s_password(store: Store, run: Run) -> None:
    asked = {"database": "gpu_token", "collection": "gpus"}
    assert run(aggregate, store, **asked)["documents"] == []
    assert "refused" in run(aggregate, store, named=False, **asked)["msg"]
    (store.folder / "admin-password").write_text(OTHER_PASSWORD)
    assert "refused" in run(aggregate, store, **asked)["msg"]


def test_mongosh_of_the_image_asks_over_tls(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--host=localhost", f"--port={store.settings.port}", "--eval", "db.adminCommand('ping').ok"]
    mongosh.main(["--tls", f"--tlsCAFile={store.settings.ca_file}", *where])
    assert capsys.readouterr().out == "1\n"
