"""The health check tells the truth about the loop and its deliveries."""

import time
from pathlib import Path

import msgspec
import pytest
from gpu_token_producers.counts import Totals
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.health import main, problem
from gpu_token_producers.heartbeat import Heartbeat, HeartbeatWriter

NOW = 1_000.0


def beat(path: Path, **changes: float) -> Path:
    state = {
        "written_at": NOW,
        "progress_at": NOW,
        "failure_at": None,
        "sent": 10,
        "delivered": 8,
        "failed": 0,
    }
    path.write_bytes(msgspec.json.encode({**state, **changes}))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "health.json"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"written_at": NOW - 16}, "loop stands still"),
        ({"written_at": NOW + 60}, "loop stands still"),
        ({"progress_at": NOW - 31}, "Nothing was delivered for 31 seconds and 2 events wait"),
        ({"failure_at": NOW - 5, "failed": 1}, "A delivery failed 5 seconds ago"),
    ],
)
def test_what_makes_a_producer_unhealthy(changes: dict[str, float], said: str, path: Path) -> None:
    found = problem(beat(path, **changes), NOW, stall_seconds=30)
    assert found is not None
    assert said in found


@pytest.mark.parametrize(
    "changes",
    [{}, {"written_at": NOW - 14}, {"progress_at": NOW - 29}, {"failure_at": NOW - 31, "failed": 1}],
)
def test_what_a_producer_may_be_and_be_healthy(changes: dict[str, float], path: Path) -> None:
    assert problem(beat(path, **changes), NOW, stall_seconds=30) is None


def test_no_heartbeat_and_a_broken_one_are_unhealthy(path: Path) -> None:
    assert "has not reached Kafka" in (problem(path, NOW, 30) or "")
    path.write_bytes(b"{")
    assert "cannot be read" in (problem(path, NOW, 30) or "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [NOW]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def read(path: Path) -> Heartbeat:
    return msgspec.json.decode(path.read_bytes(), type=Heartbeat)


def test_progress_is_a_delivery_or_nothing_to_deliver(clock: list[float], path: Path) -> None:
    writer = HeartbeatWriter(path)
    for moment, totals, progress_at in (
        (1_010, Totals(0, 0, 0), 1_010),
        (1_020, Totals(5, 0, 0), 1_010),
        (1_030, Totals(5, 0, 0), 1_010),
        (1_040, Totals(5, 1, 0), 1_040),
        (1_050, Totals(9, 1, 0), 1_040),
        (1_060, Totals(9, 9, 0), 1_060),
        (1_070, Totals(9, 9, 0), 1_070),
    ):
        clock[0] = moment
        writer(totals)
        assert read(path).progress_at == progress_at


def test_a_failure_is_remembered(clock: list[float], path: Path) -> None:
    writer = HeartbeatWriter(path)
    clock[0] = 1_010
    writer(Totals(5, 4, 1))
    clock[0] = 1_020
    writer(Totals(6, 5, 1))
    assert read(path).failure_at == 1_010


def test_the_heartbeat_of_an_earlier_run_is_removed(path: Path) -> None:
    beat(path)
    HeartbeatWriter(path)
    assert not path.exists()


def test_a_heartbeat_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ProducerError, match="HEALTH_FILE"):
        HeartbeatWriter(tmp_path / "missing" / "health.json")


def test_a_disk_that_fills_up_later_only_makes_the_heartbeat_stale(path: Path, clock: list[float]) -> None:
    folder = path.parent / "folder"
    folder.mkdir()
    writer = HeartbeatWriter(folder / "health.json")
    folder.rmdir()
    clock[0] += 10
    writer(Totals(1, 1, 0))
    assert not folder.exists()


def test_a_setting_that_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEALTH_STALL_SECONDS", "soon")
    assert main() == 1
    assert "HEALTH_STALL_SECONDS is 'soon'" in capsys.readouterr().out
