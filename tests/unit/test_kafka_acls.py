"""What the module kafka_acls reads, grants and withdraws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_acls

from .kafka_container import Container

Acl, Who = kafka_acls.Acl, kafka_acls.Who

TOOL = "kafka-acls.sh"
PRINTED = """Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=usage, patternType=LITERAL)`:
\t(principal=User:processor, host=*, operation=READ, permissionType=ALLOW)
\t(principal=User:producers, host=*, operation=WRITE, permissionType=ALLOW)

Current ACLs for resource `ResourcePattern(resourceType=GROUP, name=replay, patternType=PREFIXED)`:
\t(principal=User:producers, host=*, operation=READ, permissionType=ALLOW)

"""
STRANGE = """Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=*, patternType=LITERAL)`:
\t(principal=User:mallory, host=10.0.0.9, operation=DESCRIBE_CONFIGS, permissionType=ALLOW)

Current ACLs for resource `ResourcePattern(resourceType=CLUSTER, name=kafka-cluster, patternType=LITERAL)`:
\t(principal=User:mallory, host=*, operation=CREATE, permissionType=DENY)
"""
LISTED = [
    {"user": "processor", "operation": "read", "topics": ["usage"]},
    {"user": "producers", "operation": "write", "topics": ["usage"]},
    {"user": "producers", "operation": "read", "groups": ["replay*"]},
]


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    """A broker that has what is listed."""
    made = Container(tmp_path, monkeypatch, TOOL)
    made.prints(TOOL, PRINTED)
    return made


def run(container: Container, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module; give its result."""
    return container.run(kafka_acls, capsys, **arguments)[0]


def test_reads_what_the_tool_prints() -> None:
    assert kafka_acls.parse(PRINTED) == {
        Acl(Who("User:processor", "READ"), "TOPIC", "usage"),
        Acl(Who("User:producers", "WRITE"), "TOPIC", "usage"),
        Acl(Who("User:producers", "READ", "PREFIXED"), "GROUP", "replay"),
    }
    assert kafka_acls.parse("\n") == set()


def test_a_star_ends_a_prefix_and_alone_is_kafkas_own() -> None:
    listed = [{"user": "u", "operation": "read", "topics": ["*", "a*"], "groups": []}]
    assert {(acl.who.pattern, acl.name) for acl in kafka_acls.wanted(listed)} == {
        ("LITERAL", "*"),
        ("PREFIXED", "a"),
    }


def test_a_right_on_the_cluster_has_no_name() -> None:
    listed = [{"user": "u", "operation": "describe", "topics": [], "groups": [], "cluster": True}]
    [acl] = kafka_acls.wanted(listed)
    assert (acl.kind, acl.resource) == ("CLUSTER", ["--cluster"])
    printed = STRANGE.replace("mallory", "u").replace("CREATE", "DESCRIBE").replace("DENY", "ALLOW")
    assert acl in kafka_acls.parse(printed)


def test_what_is_there_is_left_alone(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(container, capsys, acls=LISTED)
    assert (said["changed"], said["actions"], said["diff"]) == (False, [], {})
    assert container.calls(TOOL) == ["--list"]


def test_what_lacks_is_granted_in_one_call_for_each_user_and_operation(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"user": "processor", "operation": "describe_configs", "topics": ["a", "b"], "groups": ["g"]}
    said = run(container, capsys, acls=[*LISTED, more])
    assert said["actions"] == [
        "grant: User:processor may DESCRIBE_CONFIGS GROUP g",
        "grant: User:processor may DESCRIBE_CONFIGS TOPIC a",
        "grant: User:processor may DESCRIBE_CONFIGS TOPIC b",
    ]
    assert container.calls(TOOL)[1:] == [
        "--add --allow-principal User:processor --allow-host * --operation DescribeConfigs "
        "--resource-pattern-type literal --group g --topic a --topic b"
    ]


def test_what_is_not_listed_is_withdrawn_after_the_rest_was_granted(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    container.prints(TOOL, PRINTED + STRANGE)
    said = run(container, capsys, acls=[*LISTED, {"user": "u", "operation": "all", "groups": ["g"]}])
    assert said["actions"] == [
        "grant: User:u may ALL GROUP g",
        "withdraw: User:mallory may not CREATE CLUSTER kafka-cluster",
        "withdraw: User:mallory may DESCRIBE_CONFIGS TOPIC * from 10.0.0.9",
    ]
    assert container.calls(TOOL)[1:] == [
        "--add --allow-principal User:u --allow-host * --operation All "
        "--resource-pattern-type literal --group g",
        "--remove --force --deny-principal User:mallory --deny-host * --operation Create "
        "--resource-pattern-type literal --cluster",
        "--remove --force --allow-principal User:mallory --allow-host 10.0.0.9 --operation DescribeConfigs "
        "--resource-pattern-type literal --topic *",
    ]
    assert "mallory" in said["diff"]["before"]
    assert "mallory" not in said["diff"]["after"]


def test_a_dry_run_says_the_same_and_changes_nothing(
    container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    dry = run(container, capsys, acls=LISTED[:1], _ansible_check_mode=True)
    assert container.calls(TOOL) == ["--list"]
    wet = run(container, capsys, acls=LISTED[:1])
    assert (dry["changed"], dry["actions"], dry["diff"]) == (True, wet["actions"], wet["diff"])
