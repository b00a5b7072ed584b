"""The module kafka_features raises a level, never lowers one, and refuses what the version does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_features

from .kafka_container import Container

FEATURES = "kafka-features.sh"
# As Kafka 4.1 prints it.
DESCRIPTION = "".join(
    f"Feature: {name}\tSupportedMinVersion: 0\tSupportedMaxVersion: 1\t"
    f"FinalizedVersionLevel: {level}\tEpoch: 28\n"
    for name, level in (("group.version", 1), ("kraft.version", 0))
)


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container(tmp_path, monkeypatch, FEATURES)
    made.prints(FEATURES, DESCRIPTION)
    return made


@pytest.mark.parametrize(
    ("feature", "level", "raised"),
    [("kraft.version", 1, True), ("group.version", 1, False), ("group.version", 0, False)],
)
def test_only_a_lower_level_is_raised(
    container: Container, capsys: pytest.CaptureFixture[str], feature: str, level: int, raised: bool
) -> None:
    result, _ = container.run(kafka_features, capsys, feature=feature, level=level)
    assert result["changed"] is raised
    assert container.calls(FEATURES)[1:] == [f"upgrade --feature {feature}={level}"] * raised


def test_a_dry_run_raises_nothing(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = container.run(
        kafka_features, capsys, feature="kraft.version", level=1, _ansible_check_mode=True
    )
    assert result["diff"] == {"before": {"kraft.version": 0}, "after": {"kraft.version": 1}}
    assert container.calls(FEATURES) == ["describe"]


@pytest.mark.parametrize(("feature", "known"), [("kraft.version", 1), ("future.version", 0)])
def test_what_the_version_does_not_know_is_refused(
    container: Container, capsys: pytest.CaptureFixture[str], feature: str, known: int
) -> None:
    result, _ = container.run(kafka_features, capsys, feature=feature, level=2)
    assert result["failed"]
    assert f"knows it up to {known}; run a newer version of Kafka first." in result["msg"]
