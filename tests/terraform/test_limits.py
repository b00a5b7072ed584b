"""`fleet check` and Terraform draw the same lines: what one refuses in fleet.yml, the other does not take."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from fleet.model import FleetError, parse
from tests.terraform.conftest import ROOT, Terraform

FLEET: dict[str, Any] = yaml.safe_load((ROOT / "fleet.yml").read_text())
VPC, SUBNET, FLOW = "network/vpc_cidr", "network/subnet_cidr", "flows/0"
OUTSIDE = "outside/gpu_hosts"
COUNT, TYPE = "roles/processor/count", "roles/kafka/instance_type"
ROOT_DISK, DATA_DISK = "roles/kafka/root_disk_gib", "roles/kafka/data_disk_gib"

# Terraform takes no part in ports, addresses, memory, topics and images: those are only for `fleet check`.
LIMITS: list[tuple[dict[str, Any], bool]] = [
    ({"project": "p" * 30}, True),
    ({"project": "p" * 31}, False),
    ({"project": "1p"}, False),
    ({"project": "Gpu"}, False),
    ({VPC: "10.0.0.0/15", SUBNET: "10.0.0.0/16"}, False),
    ({VPC: "10.0.0.0/16", SUBNET: "10.0.0.0/16"}, True),
    ({VPC: "10.0.1.0/28", SUBNET: "10.0.1.0/28"}, True),
    ({VPC: "10.0.1.0/29", SUBNET: "10.0.1.0/29"}, False),
    ({SUBNET: "10.0.1.0/29"}, False),
    ({SUBNET: "10.1.1.0/24"}, False),
    ({SUBNET: "10.0.1.7/24"}, False),
    ({VPC: "10.0.1.0/16"}, False),
    ({VPC: "10.0.0.0"}, False),
    ({"roles": {}, "flows": []}, False),
    ({"roles/archive": FLEET["roles"]["producers"]}, True),
    ({"roles/archive-2": FLEET["roles"]["producers"]}, False),
    ({"roles/operator": FLEET["roles"]["producers"]}, False),
    ({"roles/all": FLEET["roles"]["producers"]}, False),
    ({COUNT: 2}, True),
    ({COUNT: 0}, False),
    ({COUNT: 1.5}, False),
    ({TYPE: "m7i.metal-24xl", "roles/kafka/memory_mib": 393216}, True),
    ({TYPE: "u-6tb1.56xlarge", "roles/kafka/memory_mib": 6291456}, True),
    ({TYPE: "3t.small", "roles/kafka/memory_mib": 2048}, False),
    ({TYPE: "small"}, False),
    ({ROOT_DISK: 8}, True),
    ({ROOT_DISK: 7}, False),
    ({ROOT_DISK: 8.5}, False),
    # So small a disk holds no events.
    ({DATA_DISK: 1, "load_events_per_second/gpu_metrics": 0, "load_events_per_second/token_usage": 0}, True),
    ({DATA_DISK: None}, True),
    ({DATA_DISK: 0}, False),
    ({DATA_DISK: 1.5}, False),
    ({OUTSIDE: ["203.0.113.0/24", "198.51.100.7/32", "198.51.100.8"]}, True),
    ({OUTSIDE: ["203.0.113.7/24"]}, False),
    ({OUTSIDE: ["203.0.113.0/33"]}, False),
    ({OUTSIDE: ["0.0.0.0/0"]}, False),
    ({OUTSIDE: ["12.0.0.0/7"]}, False),
    ({OUTSIDE: ["2001:db8::/32"]}, False),
    ({"outside/kafka": []}, False),
    ({"outside/operator": []}, False),
    ({"flows": []}, True),
    ({FLOW: {"from": "all", "to": "kafka", "port": 9092}}, True),
    ({FLOW: {"from": "grafana", "to": "kafka", "port": 9092}}, False),
    ({FLOW: {"from": "operator", "to": "grafana", "port": 22}}, False),
    ({FLOW: {"from": "operator", "to": "operator", "port": 22}}, False),
    ({FLOW: {"from": "operator", "to": "kafka", "port": 65535}, "roles/kafka/ports/last": 65535}, True),
    ({FLOW: {"from": "operator", "to": "kafka", "port": 65536}, "roles/kafka/ports/last": 65536}, False),
    ({FLOW: {"from": "operator", "to": "kafka", "port": 0}, "roles/kafka/ports/none": 0}, False),
]
RUN = """mock_provider "aws" {
  source = "./tests/mocks"
}
run "case" {
  command = plan
  variables {
    ssh_key_name  = "key"
    allowed_cidrs = ["203.0.113.7/32"]
    fleet_file    = "cases/%s.yml"
  }
}
"""


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """fleet.yml with these values set."""
    data = deepcopy(FLEET)
    for path, value in changes.items():
        *parents, last = path.split("/")
        place: Any = data
        for key in parents:
            place = place[key]
        place[int(last) if isinstance(place, list) else last] = value
    return data


@pytest.mark.parametrize(("changes", "right"), LIMITS, ids=lambda value: str(value))
def test_fleet_check_draws_the_line(changes: dict[str, Any], right: bool) -> None:
    if right:
        parse(changed(changes))
    else:
        with pytest.raises(FleetError):
            parse(changed(changes))


def test_terraform_draws_the_same_lines(terraform: Terraform) -> None:
    cases = terraform.folder / "cases"
    cases.mkdir()
    for number, (changes, _) in enumerate(LIMITS):
        (cases / f"{number}.yml").write_text(yaml.safe_dump(changed(changes)))
        (cases / f"{number}.tftest.hcl").write_text(RUN % number)
    messages = terraform.test("-test-directory=cases")
    refused = {
        message["@testfile"]
        for message in messages
        if message["type"] == "diagnostic"
        and message["diagnostic"]["summary"] == "Invalid value for variable"
    }
    passed = {
        message["@testfile"]
        for message in messages
        if message["type"] == "test_run" and message["test_run"].get("status") == "pass"
    }
    for number, (changes, right) in enumerate(LIMITS):
        file = f"cases/{number}.tftest.hcl"
        assert (file in passed, file in refused) == (right, not right), changes
