"""MongoDB's settings and compose file."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .role_files import load_fleet, render, role_variables


def conf(**settings: Any) -> dict[str, Any]:
    """Render and read mongod.conf."""
    content: dict[str, Any] = yaml.safe_load(
        render("mongo", "mongod.conf.j2", {"fleet": load_fleet(), **settings})
    )
    return content


@pytest.mark.parametrize(("memory_mib", "cache_gib"), [(2048, 0.5), (1024, 0.25), (512, 0.25), (16384, 4.0)])
def test_cache_is_a_share_of_the_machine_and_never_too_small(memory_mib: int, cache_gib: float) -> None:
    cache = conf(mongo_machine_memory_mib=memory_mib)["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"]
    assert cache == cache_gib


def test_own_settings_are_merged_in() -> None:
    rendered = conf(
        mongo_settings={"net": {"maxIncomingConnections": 100}, "operationProfiling": {"mode": "slowOp"}}
    )
    assert rendered["net"] == {"port": 27017, "bindIp": "0.0.0.0", "maxIncomingConnections": 100}
    assert rendered["operationProfiling"] == {"mode": "slowOp"}
    assert rendered["storage"]["dbPath"] == "/data/db"


@pytest.mark.parametrize(
    ("image", "needs_avx"),
    [
        ("mongo:7.0", True),
        ("docker.io/library/mongo:8", True),
        ("mongo", True),
        ("mongo:4.4", False),
        ("10.0.1.1:15001/mongo:7.0", False),
        ("example.org/store:7", False),
    ],
)
def test_only_mongodbs_own_builds_need_avx(image: str, needs_avx: bool) -> None:
    variables = {**role_variables("mongo"), "mongo_image": image}
    assert (
        Templar(DataLoader(), variables=variables).template(trust_as_template("{{ _mongo_needs_avx }}"))
        is needs_avx
    )
