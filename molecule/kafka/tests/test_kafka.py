"""The broker on its machine, seen from outside the role. Tests run in order; the last ones break things."""

from __future__ import annotations

import pytest
from broker import ROOT, converge, end_offset, inspect, play, tool
from testinfra.host import Host

from fleet.model import DeadLetters, Topic, load
from testing.waiting import until

FLEET = load(ROOT / "fleet.yml")
TOPIC = FLEET.topics.gpu_metrics.name
DATA = "/srv/kafka/data"
RESERVE_MIB = 512
COMPOSE = "docker compose --project-directory /opt/gpu-token/kafka"


def is_healthy(host: Host) -> bool:
    state = inspect(host)["State"]
    return bool(state["Running"] and state["Health"]["Status"] == "healthy")


def test_the_container_is_healthy_and_starts_at_boot(host: Host) -> None:
    container = inspect(host)
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_only_root_reads_the_settings(host: Host) -> None:
    with host.sudo():
        assert host.file("/opt/gpu-token/kafka/.env").mode == 0o600
    assert host.file("/opt/gpu-token/kafka/compose.yml").mode == 0o644


def test_the_data_directory_of_root_was_given_to_the_broker(host: Host) -> None:
    with host.sudo():
        assert host.file(DATA).uid == 1000
        assert host.file(f"{DATA}/meta.properties").uid == 1000


def test_the_data_lies_on_the_volume(host: Host) -> None:
    mounted = host.mount_point("/srv")
    assert mounted.filesystem == "xfs"
    assert mounted.device.startswith("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol")


def test_docker_waits_for_the_volume_at_boot_and_the_boot_does_not(host: Host) -> None:
    """What systemd's fstab generator makes of fstab outside a container, where it reads devices."""
    generator = "/usr/lib/systemd/system-generators/systemd-fstab-generator"
    units = "/run/fstab-units"
    with host.sudo():
        host.check_output(f"mkdir {units}")
        host.check_output(
            f"unshare --mount sh -c 'mount -o remount,rw /sys && {generator} {units} {units} {units}'"
        )
        assert "Before=docker.service" in host.check_output(f"cat {units}/srv.mount")
        assert host.file(f"{units}/docker.service.requires/srv.mount").exists
        assert not host.file(f"{units}/local-fs.target.requires/srv.mount").exists


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"data_volume_id": "vol-00000000000000000"}, "attach that volume to it"),
        ({"data_volume_file_system": "ext4"}, "holds xfs; only an empty volume is formatted"),
    ],
)
def test_a_wrong_volume_is_refused_and_left_alone(
    host: Host, variables: dict[str, str], sentence: str
) -> None:
    before = end_offset(host, TOPIC)
    run = converge(**variables)
    assert run.returncode != 0
    assert sentence in " ".join(run.stdout.split())
    assert end_offset(host, TOPIC) == before


def test_heap_and_container_are_limited(host: Host) -> None:
    limit = inspect(host)["HostConfig"]["Memory"]
    memory_mib = FLEET.roles["kafka"].memory_mib
    with host.sudo():
        assert f"-Xmx{int(memory_mib * 0.4)}m" in host.check_output("docker top kafka -eo pid,args")
    assert limit == int(memory_mib * 0.75) * 1024**2


def test_topics_are_those_of_the_fleet_and_none_is_made_by_accident(host: Host) -> None:
    described = tool(host, "kafka-topics.sh --describe --exclude-internal")
    sizes: dict[str, Topic | DeadLetters] = {topic.name: topic for _, topic in FLEET.topics}
    sizes |= {f"{name}.dlq": FLEET.dead_letters for name in sizes}
    for name, size in sizes.items():
        [line] = [line for line in described.splitlines() if line.startswith(f"Topic: {name}\t")]
        assert f"PartitionCount: {size.partitions}" in line
        assert f"retention.ms={size.retention_hours * 3_600_000}" in line
    assert "auto.create.topics.enable=false" in tool(
        host, "kafka-configs.sh --describe --all --entity-type brokers --entity-name 1"
    )


def test_events_outlive_the_container(host: Host) -> None:
    before = end_offset(host, TOPIC)
    tool(host, f"kafka-console-producer.sh --topic {TOPIC} < <(seq 100)")
    with host.sudo():
        host.check_output("docker rm --force kafka")
        host.check_output(f"{COMPOSE} up --detach --wait")
    assert end_offset(host, TOPIC) == before + 100


def test_a_full_disk_stops_the_broker_until_there_is_room_and_costs_no_event(host: Host) -> None:
    topics, before = tool(host, "kafka-topics.sh --list"), end_offset(host, TOPIC)
    with host.sudo():
        free_mib = int(host.check_output("df --block-size=1M --output=avail /srv | tail -1"))
        host.check_output("fallocate --length %sM /srv/ballast", str(free_mib - RESERVE_MIB // 2))
        until(lambda: not is_healthy(host), "the broker stops", 60)
        assert "is stopped, since the disk of" in host.run("docker logs kafka").stderr
        run = converge()
        assert run.returncode != 0
        assert f"does not start, since {RESERVE_MIB} MiB of its disk must be free" in " ".join(
            run.stdout.split()
        )
        host.check_output("rm /srv/ballast")
    # Docker tries again within a minute.
    until(lambda: is_healthy(host), "the broker starts", 180)
    assert (tool(host, "kafka-topics.sh --list"), end_offset(host, TOPIC)) == (topics, before)


def test_topics_that_the_broker_forgot_are_refused_and_come_back(host: Host) -> None:
    """What a start on a full disk does to a broker without the guard."""
    before = end_offset(host, TOPIC)
    with host.sudo():
        host.check_output(f"{COMPOSE} stop && rm --recursive {DATA}/__cluster_metadata-0")
    run = converge()
    assert run.returncode != 0
    assert "holds events and no record of the topics" in " ".join(run.stdout.split())
    restored = play("playbooks/restore_topics.yml")
    assert restored.returncode == 0, restored.stdout
    assert end_offset(host, TOPIC) == before
    assert converge().returncode == 0


def test_another_cluster_id_is_refused_in_one_sentence_and_the_data_left_alone(host: Host) -> None:
    container = inspect(host)["Id"]
    run = converge(kafka_cluster_id="AAAAAAAAAAAAAAAAAAAAAA")
    assert run.returncode != 0
    assert "belongs to cluster" in run.stdout.replace("\n", " ")
    assert inspect(host)["Id"] == container
    assert end_offset(host, TOPIC) >= 100


def test_files_that_are_not_kafkas_are_refused(host: Host) -> None:
    with host.sudo():
        host.check_output("mkdir -p /srv/other && touch /srv/other/WiredTiger")
    run = converge(kafka_data_dir="/srv/other")
    assert run.returncode != 0
    assert "not Kafka's" in run.stdout.replace("\n", " ")
    assert "WiredTiger" in run.stdout
