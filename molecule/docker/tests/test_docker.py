"""The engine on its machine, seen from outside the role."""

from __future__ import annotations

import json

from testinfra.host import Host


def test_the_engine_runs_and_starts_at_boot(host: Host) -> None:
    service = host.service("docker")
    assert service.is_running
    assert service.is_enabled


def test_the_plugins_answer(host: Host) -> None:
    assert int(host.check_output("docker compose version --short").lstrip("v").split(".")[0]) >= 2
    assert host.run("docker buildx version").rc == 0


def test_logs_are_rotated_and_containers_outlive_the_engine(host: Host) -> None:
    with host.sudo():
        info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LoggingDriver"] == "json-file"
    assert info["LiveRestoreEnabled"]
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["log-opts"] == {"max-file": "3", "max-size": "10m"}


def test_the_labs_registry_may_be_used(host: Host) -> None:
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    with host.sudo():
        configs = json.loads(
            host.check_output("docker info --format '{{json .RegistryConfig.IndexConfigs}}'")
        )
    assert settings["insecure-registries"]
    assert all(not configs[registry]["Secure"] for registry in settings["insecure-registries"])


def test_older_entries_for_dockers_archive_are_gone(host: Host) -> None:
    assert not host.file("/etc/apt/sources.list.d/docker.list").exists
    assert not host.file("/etc/apt/keyrings/docker.gpg").exists
    with host.sudo():
        assert host.run("apt-get update").rc == 0


def test_nobody_is_in_the_docker_group(host: Host) -> None:
    assert host.group("docker").members == []
