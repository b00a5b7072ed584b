"""The store on its machine, seen from outside the role. Tests run in order; the last one breaks things."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

from testing.waiting import until

ROOT = Path(__file__).parents[3]
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/mongo/defaults/main.yml").read_text())
SECRETS = "/opt/gpu-token/mongo/secrets"
RESERVE_MIB = DEFAULTS["mongo_disk_reserve_mib"]
# Two that the tests know; site.yml's own are in SSM.
ADMIN_PASSWORD = "molecule-knows-this-of-the-admin"
PROCESSOR_PASSWORD = "molecule-knows-this-of-processor"
# Prints the value of an expression over `client` and `db`, or how it was refused.
ASK = """
import json, sys
import pymongo
options, expression = json.loads(sys.argv[1]), sys.argv[2]
client = pymongo.MongoClient("127.0.0.1", serverSelectionTimeoutMS=3000, **options)
db = client["gpu_token"]
try:
    print(json.dumps(eval(expression)))
except pymongo.errors.OperationFailure as error:
    print(json.dumps({"refused": error.code}))
except pymongo.errors.ServerSelectionTimeoutError:
    print(json.dumps({"refused": "connection"}))
"""
TLS = {"tls": True, "tlsCAFile": f"{SECRETS}/ca.pem"}
PROCESSOR = {"username": "processor", "password": PROCESSOR_PASSWORD, "authSource": "gpu_token", **TLS}
UNAUTHORIZED, WRONG_PASSWORD = {"refused": 13}, {"refused": 18}


def inspect(host: Host) -> dict[str, Any]:
    """What Docker knows of the container."""
    with host.sudo():
        found: list[dict[str, Any]] = json.loads(host.check_output("docker inspect mongo"))
    return found[0]


def admin_password(host: Host) -> str:
    """The password with which the role logs in."""
    with host.sudo():
        content: str = host.file(f"{SECRETS}/admin-password").content_string
    return content


def ask(host: Host, expression: str, options: dict[str, Any] | None = None) -> Any:
    """Evaluate an expression over `client` and `db` on the machine, as the administrator by default."""
    login = {"username": "admin", "password": admin_password(host), **TLS} if options is None else options
    return json.loads(host.check_output("python3 -c %s %s %s", ASK, json.dumps(login), expression))


@pytest.fixture
def documents(host: Host) -> list[dict[str, Any]]:
    """Documents that must stay, as `kept` returns them."""
    for number in range(2):
        ask(
            host, f"db.kept.update_one({{'_id': {number}}}, {{'$set': {{'n': 1}}}}, upsert=True).acknowledged"
        )
    return kept(host)


def kept(host: Host) -> list[dict[str, Any]]:
    """What is there of them."""
    found: list[dict[str, Any]] = ask(host, "list(db.kept.find())")
    return sorted(found, key=lambda document: int(document["_id"]))


def converge(**variables: Any) -> dict[str, int]:
    """Run the role once more, with other variables; return what changed, by task."""
    extra = json.dumps(variables)
    command = ["ansible-playbook", "-i", "inventories/lab", "molecule/shared/converge.yml", "-e", extra]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    task, changed = "", {}
    for line in run.stdout.splitlines():
        if line.startswith("TASK ["):
            task = line.removeprefix("TASK [").split("]")[0].rpartition(" : ")[2]
        elif line.startswith("changed:"):
            changed[task] = changed.get(task, 0) + 1
    return changed


def test_the_container_is_healthy_and_starts_at_boot(host: Host) -> None:
    container = inspect(host)
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_the_health_check_spares_a_small_machine(host: Host) -> None:
    check = inspect(host)["Config"]["Healthcheck"]
    assert "mongosh" in check["Test"]
    assert check["Interval"] == 30_000_000_000
    assert check["StartInterval"] < check["Interval"]


def test_settings_are_mounted_read_only(host: Host) -> None:
    [mount] = [mount for mount in inspect(host)["Mounts"] if mount["Destination"] == "/etc/mongod.conf"]
    assert not mount["RW"]
    settings = yaml.safe_load(host.file("/opt/gpu-token/mongo/mongod.conf").content_string)
    assert settings["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"] == 0.5


def test_the_data_directory_of_root_was_given_to_the_store(host: Host) -> None:
    with host.sudo():
        assert host.file("/srv/mongo/data").uid == 999
        assert host.run("find /srv/mongo/data ! -uid 999").stdout == ""


def test_the_indexes_are_there(host: Host) -> None:
    for index in DEFAULTS["mongo_indexes"]:
        keys = [[key, 1] for key in index["keys"]]
        present = ask(host, f"[i['key'] for i in db['{index['collection']}'].index_information().values()]")
        assert keys in present


def test_an_index_of_other_options_is_replaced(host: Host) -> None:
    indexes = [*DEFAULTS["mongo_indexes"], {"collection": "scratch", "keys": ["ts"]}]
    assert converge(mongo_indexes=indexes) == {"Create and replace indexes": 1}
    indexes[-1] = {**indexes[-1], "options": {"unique": True}}
    assert converge(mongo_indexes=indexes) == {"Create and replace indexes": 1}


def expiry(host: Host, collection: str) -> dict[str, int]:
    """After how many seconds documents expire, by the index's name."""
    indexes = f"db['{collection}'].index_information().items()"
    found: dict[str, int] = ask(
        host, f"{{n: i['expireAfterSeconds'] for n, i in {indexes} if 'expireAfterSeconds' in i}}"
    )
    return found


def test_another_number_of_days_changes_the_indexes_in_place_and_nothing_else(host: Host) -> None:
    container = inspect(host)["Id"]
    changed = converge(mongo_raw_retention_days=30, mongo_rollup_retention_years=1)
    assert changed == {"Create and replace indexes": 1}
    for name, index, days in (("token_usage", "ts_1", 30), ("rollup_hours", "starts_at_1", 366)):
        assert expiry(host, name) == {index: days * 86_400}
    assert inspect(host)["Id"] == container
    # The tests after this one have the numbers of before.
    assert converge() == changed


def test_the_container_may_do_little(host: Host) -> None:
    container = inspect(host)
    with host.sudo():
        status = host.file(f"/proc/{container['State']['Pid']}/status").content_string
        assert host.run("docker exec mongo touch /etc/anything").rc != 0
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["HostConfig"]["PidsLimit"] == 1000
    assert [mount["Type"] for mount in container["Mounts"]] == ["bind"] * 3


def test_the_port_is_open_on_two_addresses_alone(host: Host) -> None:
    listening = host.check_output("ss -Hltn sport = :27017").splitlines()
    addresses = {line.split()[3].rpartition(":")[0] for line in listening}
    assert len(addresses) == 2
    assert "127.0.0.1" in addresses
    assert not addresses & {"0.0.0.0", "*", "[::]"}


def test_the_secrets_are_the_store_s_alone(host: Host) -> None:
    found = host.check_output("find %s -type f -printf '%%f %%m %%U\\n'", SECRETS).splitlines()
    assert sorted(found) == ["admin-password 400 999", "ca.pem 444 0", "server.pem 400 999"]


def test_changed_passwords_are_applied_and_the_data_stay(host: Host, documents: list[dict[str, Any]]) -> None:
    container = inspect(host)["Id"]
    passwords = {"mongo_admin_password": ADMIN_PASSWORD, "mongo_processor_password": PROCESSOR_PASSWORD}
    assert converge(**passwords) == {
        "Keep users, passwords and roles": 1,
        "Write the administrator's password": 1,
    }
    assert converge(**passwords) == {}
    assert admin_password(host) == ADMIN_PASSWORD
    assert kept(host) == documents
    assert inspect(host)["Id"] == container


def test_who_does_not_log_in_gets_nothing(host: Host) -> None:
    assert ask(host, "client.admin.command('ping')['ok']", TLS) == 1
    for expression in (
        "db.kept.count_documents({})",
        "db.kept.insert_one({}).acknowledged",
        "client.list_database_names()",
        "db.command('createUser', 'friend', pwd='x' * 20, roles=['readWrite'])",
    ):
        assert ask(host, expression, TLS) == UNAUTHORIZED, expression
    assert ask(host, "db.kept.count_documents({})", {**PROCESSOR, "password": "x" * 32}) == WRONG_PASSWORD


def test_nobody_is_answered_without_tls(host: Host) -> None:
    assert ask(host, "client.admin.command('ping')", {}) == {"refused": "connection"}
    assert ask(host, "client.admin.command('ping')", {"tls": True}) == {"refused": "connection"}


def test_the_processor_has_its_own_database_and_nothing_else(
    host: Host, documents: list[dict[str, Any]]
) -> None:
    assert ask(host, "db.kept.count_documents({})", PROCESSOR) == len(documents)
    assert ask(host, "db.scratch.insert_one({'_id': 1}).acknowledged", PROCESSOR)
    for expression in (
        "client['other']['kept'].count_documents({})",
        "client['other']['kept'].insert_one({}).acknowledged",
        "list(client['admin']['system.users'].find())",
        "client['admin'].command('serverStatus')",
        "db.command('createUser', 'friend', pwd='x' * 20, roles=['readWrite'])",
        "db.command('updateUser', 'processor', roles=['dbOwner'])",
    ):
        assert ask(host, expression, PROCESSOR) == UNAUTHORIZED, expression


def test_no_password_is_told(host: Host) -> None:
    with host.sudo():
        logs = host.run("docker logs mongo")
        told = host.check_output("docker inspect mongo") + logs.stdout + logs.stderr
        told += host.check_output("cat /opt/gpu-token/mongo/compose.yml /opt/gpu-token/mongo/mongod.conf")
        told += host.check_output("ps aux")
    for password in (ADMIN_PASSWORD, PROCESSOR_PASSWORD):
        assert password not in told


def test_data_of_which_no_password_is_known_are_taken_over(
    host: Host, documents: list[dict[str, Any]]
) -> None:
    # As an earlier version left them: nobody may log in, and there is no file.
    ask(host, "[db.command('dropUser', 'processor'), client.admin.command('dropUser', 'admin')]")
    with host.sudo():
        host.check_output("rm %s/admin-password", SECRETS)
    changed = converge()
    assert changed["Make the users"] == 1
    assert "Keep users, passwords and roles" not in changed
    assert kept(host) == documents
    assert ask(host, "db.kept.count_documents({})", TLS) == UNAUTHORIZED


def test_a_full_disk_stops_the_store_until_there_is_room(host: Host, documents: list[dict[str, Any]]) -> None:
    def is_healthy() -> bool:
        state = inspect(host)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    with host.sudo():
        free_mib = int(host.check_output("df --block-size=1M --output=avail /srv | tail -1"))
        host.check_output("fallocate --length %sM /srv/ballast", str(free_mib - RESERVE_MIB // 2))
        until(lambda: not is_healthy(), "the store stops", 60)
        assert "is stopped, since the disk of" in host.run("docker logs mongo").stderr
        host.check_output("rm /srv/ballast")
    # Docker tries again within a minute.
    until(is_healthy, "the store starts", 180)
    assert kept(host) == documents


def test_documents_outlive_the_container(host: Host, documents: list[dict[str, Any]]) -> None:
    with host.sudo():
        host.check_output("docker rm --force mongo")
        host.check_output("docker compose --project-directory /opt/gpu-token/mongo up --detach --wait")
    assert kept(host) == documents
