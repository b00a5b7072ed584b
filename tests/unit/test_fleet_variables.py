"""What follows from fleet.yml: a machine's memory, and who writes and reads which topic."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_acls

from fleet.model import Fleet, load

from .role_files import ROLES, ROOT, fleet_variables, role_variables

APPS = ("producers", "processor")


class Site:
    """The roles' view of a copy of fleet.yml."""

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
        machine = {"groups": {}, "hostvars": {}, "inventory_hostname": f"{role}-1", "fleet_secrets": {}}
        context = role_variables(role) | fleet_variables(self.file.parent) | machine
        return Templar(DataLoader(), variables=context).template(context[variable])

    def rights(self, kind: str) -> set[tuple[str, str, str]]:
        """User, operation and name of each right that the role kafka grants on topics, or on groups."""
        listed = [{"topics": [], "groups": [], **acl} for acl in self.value("kafka", "kafka_acls")]
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
    for role in APPS:
        settings = site.value(role, f"_{role}_settings")
        assert (settings["TOPIC_METRIC"], settings["TOPIC_TOKEN"]) == names


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
