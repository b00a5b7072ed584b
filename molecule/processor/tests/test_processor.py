"""The processor on its machine, seen from outside the role."""

from __future__ import annotations

import json
from pathlib import Path

from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]


def test_the_service_answers_and_is_ready(host: Host) -> None:
    probe = "import json,urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/health/ready').status)"
    assert host.check_output("python3 -c %s", probe) == "200"


def test_the_container_cannot_write_or_gain_rights(host: Host) -> None:
    with host.sudo():
        settings = json.loads(host.check_output("docker inspect processor"))[0]["HostConfig"]
    assert settings["ReadonlyRootfs"]
    assert settings["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["SecurityOpt"]


def test_the_image_is_named_by_its_content(host: Host) -> None:
    with host.sudo():
        image = json.loads(host.check_output("docker inspect processor"))[0]["Config"]["Image"]
    name, tag = image.rsplit(":", 1)
    assert name == "gpu-token/processor"
    assert len(tag) == 12
    assert int(tag, 16) >= 0


def test_the_health_check_needs_no_curl(host: Host) -> None:
    with host.sudo():
        assert host.run("docker exec processor python -m gpu_token_processor.health").rc == 0
        assert host.run("docker exec processor sh -c 'command -v curl'").rc != 0


def test_the_store_has_the_catalogue(host: Host) -> None:
    with host.sudo():
        again = host.check_output(
            "printf %%s %s | docker exec --interactive processor gpu-token-catalog apply --check -",
            (ROOT / "catalog.yml").read_text(),
        )
    assert json.loads(again)["actions"] == []


def test_stopping_it_is_orderly(host: Host) -> None:
    with host.sudo():
        host.check_output("docker restart processor")
        state = json.loads(host.check_output("docker inspect processor"))[0]["State"]
        assert state["Running"]
        assert "Traceback" not in host.check_output("docker logs --tail 200 processor 2>&1")


def test_secrets_are_files_of_the_container_alone(host: Host) -> None:
    with host.sudo():
        inspected = host.check_output("docker inspect processor")
        for name in ("api-token", "kafka-password", "mongo-password"):
            file = host.file(f"/opt/gpu-token/processor/secrets/{name}")
            assert (file.uid, file.mode) == (10001, 0o400)
            assert file.content_string not in inspected
