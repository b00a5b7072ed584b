"""The module kafka_quorum: who joins the controllers' quorum, and who has to go."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_quorum

from .kafka_container import Container

QUORUM = "kafka-metadata-quorum.sh"
# As Kafka 4.1 prints it. The disk of node 2 was replaced: the old one is a voter, the new one listens.
HEAD = "NodeId\tDirectoryId\tLogEndOffset\tLag\tLastFetchTimestamp\tLastCaughtUpTimestamp\tStatus\t"
DESCRIPTION = f"""{HEAD}
1     \tbx3AX_tUSXWkT9mlJlK9UQ\t457         \t0  \t1796071404771     \t1796071404771        \tLeader  \t
2     \tyIS0sFADd_4IFBIme-Kd4w\t403         \t54 \t1796071386758     \t1796071386401        \tFollower\t
3     \tm-rt97UtoOykL2T8LjCQOQ\t457         \t0  \t1796071404340     \t1796071404340        \tFollower\t
2     \tcEPF__TQldST-dpZfFOnEw\t457         \t0  \t1796071404365     \t1796071404365        \tObserver\t
4     \tg95xRW39BG_MBqnwW8pjAw\t387         \t70 \t1796071383189     \t1796071383007        \tObserver\t
"""
ONE, OLD, THREE, NEW, FOUR = kafka_quorum.parse(DESCRIPTION)


def plan(*members: kafka_quorum.Member, own: kafka_quorum.Member, voters: list[int]) -> list[str]:
    actions = kafka_quorum.plan(members, own.node_id, own.directory_id, voters)
    return [action.sentence for action in actions]


def test_reads_who_votes_and_who_listens() -> None:
    assert ONE == (1, "bx3AX_tUSXWkT9mlJlK9UQ", True)
    assert [member.votes for member in (ONE, OLD, THREE, NEW, FOUR)] == [True, True, True, False, False]


def test_a_voter_stays_even_if_its_old_disk_is_still_listed() -> None:
    back = NEW._replace(votes=True)
    assert plan(ONE, back, THREE, OLD._replace(votes=False), own=back, voters=[1, 2, 3]) == []


def test_a_new_disk_takes_the_place_of_the_old_one() -> None:
    said = plan(ONE, OLD, THREE, NEW, FOUR, own=NEW, voters=[1, 2, 3])
    assert said == ["remove voter 2, whose disk is gone", "add voter 2"]


def test_a_node_that_is_no_controller_only_listens() -> None:
    assert plan(ONE, NEW._replace(votes=True), THREE, FOUR, own=FOUR, voters=[1, 2, 3]) == []


def test_who_is_no_controller_any_more_is_taken_out_after_who_joins() -> None:
    said = plan(ONE, THREE, NEW, own=NEW, voters=[1, 2])
    assert said == ["add voter 2", "remove voter 3, which is no controller any more"]


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container(tmp_path, monkeypatch, QUORUM)
    made.prints(QUORUM, DESCRIPTION)
    (tmp_path / "meta.properties").write_text("node.id=2\ndirectory.id=cEPF__TQldST-dpZfFOnEw\n")
    return made


def test_the_node_s_own_settings_are_given_with_the_login_and_the_login_wins(
    container: Container, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Both in one file, where what comes later holds."""
    login, server = tmp_path / "admin.properties", tmp_path / "server.properties"
    login.write_text("security.protocol=SASL_SSL\n")
    server.write_text("node.id=2")
    tool = tmp_path / QUORUM
    tool.write_text('#!/bin/bash\ncat "$4" >> "$0.given"\necho "${@:5}" >> "$0.calls"\ncat "$0.prints"\n')
    result, _ = container.run(
        kafka_quorum,
        capsys,
        command_config=str(login),
        node_id=2,
        data_dir=str(tmp_path),
        voters=[1, 2, 3],
        server_properties=str(server),
    )
    assert result["changed"]
    assert Path(f"{tool}.calls").read_text().splitlines() == [
        "describe --replication",
        "remove-controller --controller-id 2 --controller-directory-id yIS0sFADd_4IFBIme-Kd4w",
        "add-controller",
    ]
    assert Path(f"{tool}.given").read_text().endswith("node.id=2\nsecurity.protocol=SASL_SSL\n")


def test_a_dry_run_changes_nothing(
    container: Container, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result, _ = container.run(
        kafka_quorum, capsys, node_id=2, data_dir=str(tmp_path), voters=[1, 2, 3], _ansible_check_mode=True
    )
    assert result["actions"] == ["remove voter 2, whose disk is gone", "add voter 2"]
    assert container.calls(QUORUM) == ["describe --replication"]


def test_a_node_that_does_not_come_is_named(
    container: Container, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "meta.properties").write_text("directory.id=another\n")
    result, _ = container.run(
        kafka_quorum, capsys, node_id=2, data_dir=str(tmp_path), voters=[1, 2, 3], wait_seconds=0
    )
    assert (
        "Node 2 does not follow the controllers' quorum, which has 1, 2, 3, 4; look at its log"
        in result["msg"]
    )
