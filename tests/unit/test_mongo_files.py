"""MongoDB's settings and compose file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from testing.mongo_compat import settings as mongod_settings

from .role_files import fleet_variables, render, render_service, role_variables

SECRETS = {"mongo_admin_password": "a" * 32, "mongo_processor_password": "p" * 32}
MACHINE: dict[str, Any] = {
    **fleet_variables(),
    "fleet_secrets": SECRETS,
    "private_ip_address": "10.0.1.20",
    "certificate_sha256": "0" * 64,
}


def conf(**settings: Any) -> dict[str, Any]:
    """Render and read mongod.conf."""
    content: dict[str, Any] = yaml.safe_load(
        render("mongo", "mongod.conf.j2", {**fleet_variables(), **settings})
    )
    return content


def compose(**settings: Any) -> dict[str, Any]:
    """Render and read the compose file's service."""
    text = render_service(
        "compose.yml.j2",
        "mongo",
        {**MACHINE, **settings},
        service_container="_mongo_container",
        service_uid="mongo_uid",
        service_data_mount="_mongo_data_mount",
        service_disk_reserve_mib="mongo_disk_reserve_mib",
    )
    found: dict[str, Any] = yaml.safe_load(text)["services"]["mongo"]
    return found


def broken_rules(**settings: Any) -> list[str]:
    """What preflight would say."""
    context = {**role_variables("mongo"), **MACHINE, **settings}
    rules = Templar(DataLoader(), variables=context).template(context["_mongo_setting_rules"])
    return [rule["otherwise"] for rule in rules if not rule["holds"]]


@pytest.mark.parametrize(("memory_mib", "cache_gib"), [(2048, 0.5), (1024, 0.25), (512, 0.25), (16384, 4.0)])
def test_cache_is_a_share_of_the_machine_and_never_too_small(memory_mib: int, cache_gib: float) -> None:
    cache = conf(mongo_machine_memory_mib=memory_mib)["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"]
    assert cache == cache_gib


def test_own_settings_are_merged_in() -> None:
    rendered = conf(
        mongo_settings={"net": {"maxIncomingConnections": 100}, "operationProfiling": {"mode": "slowOp"}}
    )
    own = {"port": 27017, "bindIp": "0.0.0.0", "maxIncomingConnections": 100}
    assert {name: value for name, value in rendered["net"].items() if name != "tls"} == own
    assert rendered["operationProfiling"] == {"mode": "slowOp"}
    assert rendered["storage"]["dbPath"] == "/data/db"


def test_the_store_takes_users_only_and_over_tls_only() -> None:
    rendered = conf()
    assert rendered["security"] == {"authorization": "enabled"}
    assert rendered["net"]["tls"] == {
        "mode": "requireTLS",
        "certificateKeyFile": "/etc/mongo/secrets/server.pem",
        "CAFile": "/etc/mongo/secrets/ca.pem",
        "allowConnectionsWithoutCertificates": True,
    }


def test_the_stand_in_honours_every_setting(tmp_path: Path) -> None:
    (tmp_path / "mongod.conf").write_text(render("mongo", "mongod.conf.j2", fleet_variables()))
    known = mongod_settings.parse(["--config", str(tmp_path / "mongod.conf")])
    assert known.tls
    assert known.authorization
    assert not known.require_client_certificate


def test_the_container_may_do_little_and_knows_no_password() -> None:
    found = compose()
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["ports"] == ["10.0.1.20:27017:27017", "127.0.0.1:27017:27017"]
    assert [volume for volume in found["volumes"] if not volume.endswith(":ro")] == [
        "/srv/mongo/data:/data/db"
    ]
    assert not any(password in str(found) for password in SECRETS.values())


def test_the_store_starts_behind_the_guard_of_its_disk() -> None:
    found = compose()
    assert found["entrypoint"][3:] == ["disk_guard", "/data/db", "512"]
    assert found["command"][:2] == ["docker-entrypoint.sh", "mongod"]
    [said] = broken_rules(mongo_disk_reserve_mib=-1)
    assert said == "mongo_disk_reserve_mib is -1; it must be 0 or more."


def test_another_certificate_makes_another_container() -> None:
    assert compose() != compose(certificate_sha256="1" * 64)


def test_short_passwords_are_refused_and_not_shown() -> None:
    assert broken_rules() == []
    [said] = broken_rules(mongo_admin_password="short-password")
    assert said.startswith("mongo_admin_password has 14 characters; give it at least 20")
    assert "short-password" not in said
    [said] = broken_rules(fleet_secrets={**SECRETS, "mongo_processor_password": ""})
    assert said.startswith("mongo_processor_password has 0 characters")


@pytest.mark.parametrize(
    "settings",
    [{"net": {"tls": {"mode": "disabled"}}}, {"security": {"authorization": "disabled"}}],
    ids=["tls", "authorization"],
)
def test_protection_cannot_be_turned_off(settings: dict[str, Any]) -> None:
    [said] = broken_rules(mongo_settings=settings)
    assert said.startswith("mongo_settings sets net.tls.mode to")


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
