"""What follows from fleet.yml: a machine's memory, and who writes and reads which topic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_acls
from bson import json_util

from fleet import sizing
from fleet.model import Fleet, load
from testing.store import DATABASE, Store

from .role_files import ROLES, ROOT, fleet_variables, role_variables

APPS = ("producers", "processor")


class Site:
    """The roles' view of a copy of fleet.yml."""

    gpu_hosts: tuple[str, ...] = ()
    secrets: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self.file = folder / "fleet.yml"
        for name in ("fleet.yml", "fleet/instance_memory_mib.yml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / "inventories" / "lab").mkdir(parents=True)

    def change(self, path: str, value: Any) -> None:
        """Write another value into fleet.yml."""
        *parents, last = path.split("/")
        data = place = yaml.safe_load(self.file.read_text())
        for key in parents:
            place = place[key]
        place[last] = value
        self.file.write_text(yaml.safe_dump(data))

    def model(self) -> Fleet:
        """What `fleet check` reads."""
        return load(self.file)

    def value(self, role: str, variable: str) -> Any:
        """A role's variable on its first machine."""
        machine = {"hostvars": {}, "inventory_hostname": f"{role}-1", "fleet_secrets": self.secrets}
        machine["groups"] = {"gpu_hosts": self.gpu_hosts}
        context = role_variables(role) | fleet_variables(self.file.parent) | machine
        return Templar(DataLoader(), variables=context).template(context[variable])

    def rights(self, kind: str) -> set[tuple[str, str, str]]:
        """User, operation and name of each right that the role kafka grants on topics, or on groups."""
        listed = [{"topics": [], "groups": [], **acl} for acl in self.value("kafka", "_kafka_acls")]
        return {
            (acl.who.principal.removeprefix("User:"), acl.who.operation, acl.name)
            for acl in kafka_acls.wanted(listed)
            if acl.kind == kind
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A copy of this repository's fleet, to be changed."""
    return Site(tmp_path)


@pytest.mark.parametrize("names", [("gpu.metrics.v1", "token.usage.v1"), ("readings", "b-2_requests.v9")])
def test_a_topic_is_created_and_allowed_and_used_by_its_name_in_fleet_yml(
    site: Site, names: tuple[str, str]
) -> None:
    metrics, usage = names
    site.change("topics/gpu_metrics/name", metrics)
    site.change("topics/token_usage/name", usage)
    letters = [f"{metrics}.dlq", f"{usage}.dlq"]
    assert site.model().topic_names() == [metrics, usage, *letters]
    assert [topic["name"] for topic in site.value("kafka", "_kafka_topics")] == [metrics, usage, *letters]
    assert site.rights("TOPIC") == {
        *(("producers", "WRITE", name) for name in names),
        *(("processor", "READ", name) for name in names),
        *(("processor", "WRITE", name) for name in letters),
        *((user, "READ", name) for user in APPS for name in letters),
    }
    assert site.rights("GROUP") == {
        ("producers", "READ", "dead-letter-resend"),
        ("processor", "READ", "gpu-token-processor"),
        ("processor", "DESCRIBE", "dead-letter-search"),
    }
    assert site.rights("CLUSTER") == {("processor", "DESCRIBE", "kafka-cluster")}
    for role in APPS:
        settings = site.value(role, f"_{role}_settings")
        assert (settings["TOPIC_METRIC"], settings["TOPIC_TOKEN"]) == names


def test_a_gpu_host_may_write_the_two_topics_and_nothing_else(site: Site) -> None:
    before = site.rights("TOPIC"), site.rights("GROUP")
    site.gpu_hosts = ("a.example",)
    site.secrets = {"kafka_gpu_host_a.example_password": "x" * 32}
    assert site.value("kafka", "_kafka_clients")[-1] == {"name": "gpu-a.example", "password": "x" * 32}
    assert site.rights("TOPIC") - before[0] == {
        ("gpu-a.example", "WRITE", "gpu.metrics.v1"),
        ("gpu-a.example", "WRITE", "token.usage.v1"),
    }
    assert site.rights("GROUP") == before[1]


def test_dead_letters_have_a_size_of_their_own(site: Site) -> None:
    site.change("dead_letters", {"partitions": 2, "retention_hours": 5})
    sizes = {
        topic["name"]: (topic["partitions"], topic["config"]["retention.ms"])
        for topic in site.value("kafka", "_kafka_topics")
    }
    events, letters = (3, 168 * 3_600_000), (2, 5 * 3_600_000)
    assert sizes == {
        "gpu.metrics.v1": events,
        "token.usage.v1": events,
        "gpu.metrics.v1.dlq": letters,
        "token.usage.v1.dlq": letters,
    }


@pytest.mark.parametrize(
    ("data_disk_gib", "root_disk_gib", "partitions"), [(20, 16, 3), (500, 16, 64), (None, 40, 3), (2, 16, 3)]
)
def test_kafkas_disk_is_divided_among_the_partitions_as_fleet_check_says(
    site: Site, data_disk_gib: int | None, root_disk_gib: int, partitions: int
) -> None:
    site.change("roles/kafka/data_disk_gib", data_disk_gib)
    site.change("roles/kafka/root_disk_gib", root_disk_gib)
    site.change("topics/token_usage/partitions", partitions)
    each = sizing.partition_bytes(site.model())
    topics = site.value("kafka", "_kafka_topics")
    assert {topic["config"]["retention.bytes"] for topic in topics} == {each}
    [segment] = {topic["config"]["segment.bytes"] for topic in topics}
    full = (each + segment) * sum(topic["partitions"] for topic in topics)
    assert 2**20 <= segment <= 2**30
    assert full < (data_disk_gib or root_disk_gib - 8) * 2**30 * sizing.FULL_PERCENT / 100


def test_a_kafka_whose_disk_is_not_known_is_limited_by_time_alone(site: Site) -> None:
    context = role_variables("kafka") | {"kafka_topics": [{"name": "a", "partitions": 1}], "groups": {}}
    context |= {"inventory_hostname": "kafka-1", "hostvars": {}, "ansible_host": "h"}
    [topic] = Templar(DataLoader(), variables=context).template(context["_kafka_topics"])
    assert topic["config"] == {"min.insync.replicas": 1}


def test_retention_is_one_for_store_and_processor(site: Site) -> None:
    site.change("retention", {"raw_days": 30, "rollup_years": 2})
    expiry = {
        (index["collection"], *index["keys"]): index["options"]["expireAfterSeconds"]
        for index in site.value("mongo", "_mongo_indexes")
        if index.get("options", {}).get("expireAfterSeconds")
    }
    assert expiry == {
        ("gpu_metrics", "ts"): 30 * 86_400,
        ("token_usage", "ts"): 30 * 86_400,
        ("dead_letters", "ts"): 30 * 86_400,
        ("rollup_hours", "starts_at"): 732 * 86_400,
        ("rollup_days", "starts_at"): 732 * 86_400,
    }
    assert site.value("processor", "_processor_settings")["RAW_RETENTION_DAYS"] == 30


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mongo_raw_retention_days": 3}, "mongo_raw_retention_days is 3; it must lie between 4 and 36500"),
        (
            {"mongo_raw_retention_days": 400, "mongo_rollup_retention_years": 1},
            "mongo_rollup_retention_years is 1, which is 366 days, and mongo_raw_retention_days is 400",
        ),
        (
            {"mongo_indexes": [{"collection": "token_usage", "keys": ["ts"]}]},
            "mongo_indexes has token_usage, by which the store deletes what is too old",
        ),
    ],
    ids=["too-short", "roll-ups-shorter", "doubled"],
)
def test_the_store_refuses_a_retention_that_cannot_work(
    site: Site, settings: dict[str, Any], sentence: str
) -> None:
    passwords = dict.fromkeys(("mongo_admin_password", "mongo_processor_password"), "x" * 20)
    context = role_variables("mongo") | fleet_variables(site.file.parent) | passwords | settings
    rules = Templar(DataLoader(), variables=context).template(context["_mongo_setting_rules"])
    [told] = [rule["otherwise"] for rule in rules if not rule["holds"]]
    assert told.startswith(sentence)


def test_events_that_were_not_counted_are_not_deleted(site: Site, tmp_path: Path) -> None:
    """What the role asks of the store before it lets events expire."""
    site.change("retention", {"raw_days": 90, "rollup_years": 2})
    pipeline = site.value("mongo", "_mongo_uncounted_pipeline")
    now = datetime.now(UTC).replace(microsecond=0)

    def refused(events: list[datetime], counted: list[datetime]) -> list[datetime]:
        with store.client() as client:
            client.drop_database(DATABASE)
            database = client[DATABASE]
            for ts in events:
                database["token_usage"].insert_one({"ts": ts})
            for ts in counted:
                hour = int(ts.timestamp()) // 3600
                database["rollup_hours"].insert_one({"_id": hour, "digest": "d"})
            # A claimed hour that nobody has counted yet.
            database["rollup_hours"].update_one({"_id": 1}, {"$set": {"claim": 1}}, upsert=True)
            asked = json_util.loads(json.dumps(pipeline))
            return [found["ts"].replace(tzinfo=UTC) for found in database["token_usage"].aggregate(asked)]

    old, older = now - timedelta(days=91), now - timedelta(days=200)
    with Store.plain(tmp_path).running() as store:
        assert refused([], []) == []
        assert refused([now - timedelta(days=89)], []) == []
        assert refused([old, older], []) == [older]
        assert refused([old, older], [old]) == [older]
        assert refused([old, older], [old, older]) == []


@pytest.mark.parametrize("folder", ["defaults", "vars"])
def test_no_role_spells_a_topics_name(site: Site, folder: str) -> None:
    names = site.model().topic_names()
    files = list(ROLES.glob(f"*/{folder}/**/*.yml"))
    assert files
    assert [str(file) for file in files if any(name in file.read_text() for name in names)] == []


@pytest.mark.parametrize(
    ("instance_type", "given"),
    [("t3.small", None), ("m7i.xlarge", None), ("c6a.large", 3000), ("m9.huge", 1536)],
)
def test_roles_and_fleet_check_agree_on_a_machines_memory(
    site: Site, instance_type: str, given: int | None
) -> None:
    site.change("roles/kafka/instance_type", instance_type)
    if given is not None or instance_type == "t3.small":
        site.change("roles/kafka/memory_mib", given)
    memory = {name: role.memory_mib for name, role in site.model().roles.items()}
    assert given in (None, memory["kafka"])
    assert {role: site.value(role, f"{role}_machine_memory_mib") for role in memory} == memory
