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

ROOT = Path(__file__).parents[3]
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/mongo/defaults/main.yml").read_text())
ASK = "import json, pymongo; db = pymongo.MongoClient('127.0.0.1', 27017)['gpu_token']; print(json.dumps(%s))"


def inspect(host: Host) -> dict[str, Any]:
    """What Docker knows of the container."""
    with host.sudo():
        found: list[dict[str, Any]] = json.loads(host.check_output("docker inspect mongo"))
    return found[0]


def ask(host: Host, expression: str) -> Any:
    """Evaluate an expression over `db` on the machine."""
    return json.loads(host.check_output("python3 -c %s", ASK % expression))


def gpus(host: Host) -> list[dict[str, Any]]:
    """The GPU documents, without their ids."""
    found: list[dict[str, Any]] = ask(host, "list(db.gpus.find({}, {'_id': 0}))")
    return sorted(found, key=lambda gpu: str(gpu["name"]))


def converge(**variables: Any) -> dict[str, int]:
    """Run the role once more, with other variables; return what changed, by task."""
    extra = json.dumps({"role": "mongo", **variables})
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
            task = line.removeprefix("TASK [").split("]")[0]
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


def test_the_gpus_are_there(host: Host) -> None:
    assert gpus(host) == sorted(DEFAULTS["mongo_gpu_seeds"], key=lambda gpu: str(gpu["name"]))


@pytest.mark.parametrize("price", [1.25, 0.85])
def test_a_changed_price_changes_that_gpu_alone(host: Host, price: float) -> None:
    container = inspect(host)["Id"]
    first, *others = DEFAULTS["mongo_gpu_seeds"]
    changed = converge(mongo_gpu_seeds=[{**first, "price_per_hour_usd": price}, *others])
    assert changed == {"mongo : Keep the GPU inventory": 1}
    assert {**first, "price_per_hour_usd": price} in gpus(host)
    assert inspect(host)["Id"] == container


def test_an_index_of_other_options_is_replaced(host: Host) -> None:
    indexes = [*DEFAULTS["mongo_indexes"], {"collection": "scratch", "keys": ["ts"]}]
    assert converge(mongo_indexes=indexes) == {"mongo : Create and replace indexes": 1}
    indexes[-1] = {**indexes[-1], "options": {"unique": True}}
    assert converge(mongo_indexes=indexes) == {"mongo : Create and replace indexes": 1}
    assert converge(mongo_indexes=indexes) == {}


def test_documents_outlive_the_container(host: Host) -> None:
    before = gpus(host)
    with host.sudo():
        host.check_output("docker rm --force mongo")
        host.check_output("docker compose --project-directory /opt/gpu-token/mongo up --detach --wait")
    assert gpus(host) == before
