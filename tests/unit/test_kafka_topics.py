"""What the module kafka_topics reads, plans and refuses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gpu_token.pipeline.plugins.module_utils import kafka_tools
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_topics

Topic = kafka_topics.Topic

DESCRIPTION = (
    "OpenJDK 64-Bit Server VM warning: something\n"
    "Topic: usage.v1\tTopicId: 0aKf\tPartitionCount: 2\tReplicationFactor: 3\t"
    "Configs: cleanup.policy=compact,delete,retention.ms=3600000\n"
    "\tTopic: usage.v1\tPartition: 0\tLeader: 1\tReplicas: 1,2,3\tIsr: 1,2,3\tElr: \tLastKnownElr: \n"
    "\tTopic: usage.v1\tPartition: 1\tLeader: 2\tReplicas: 2,3,1\tIsr: 2\tElr: \tLastKnownElr: \n"
    "Topic: bare\tTopicId: 1bLg\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: \n"
    "\tTopic: bare\tPartition: 0\tLeader: none\tReplicas: 1\tIsr: \n"
)


def topic(**changes: Any) -> Any:
    """A wanted topic that equals the described one, but for `changes`."""
    config = {"retention.ms": "3600000"}
    return Topic(
        **{"name": "usage.v1", "partitions": 2, "replication_factor": 3, "config": config, **changes}
    )


def test_reads_topics_with_values_that_hold_commas() -> None:
    assert kafka_topics.parse_topics(DESCRIPTION) == {
        "usage.v1": Topic("usage.v1", 2, 3, {"cleanup.policy": "compact,delete", "retention.ms": "3600000"}),
        "bare": Topic("bare", 1, 1, {}),
    }


def test_reads_a_broker_without_topics() -> None:
    assert kafka_topics.parse_topics("\n") == {}
    assert kafka_topics.parse_unhealthy("\n") == []


def test_names_partitions_that_are_not_well() -> None:
    assert kafka_topics.parse_unhealthy(DESCRIPTION) == [
        "partition 1 of usage.v1 has 1 of 3 replicas in sync",
        "partition 0 of bare has no leader",
    ]


def plan(*wanted: Any) -> list[tuple[str, ...]]:
    """The command lines planned for the described broker."""
    actions = kafka_topics.plan(kafka_topics.parse_topics(DESCRIPTION), list(wanted))
    return [(action.tool, *action.arguments) for action in actions]


def test_plans_nothing_for_what_is_there() -> None:
    assert plan(topic()) == []
    assert plan() == []


def test_creates_a_topic_with_its_settings() -> None:
    created = (
        "kafka-topics.sh --create --topic new --partitions 4 --replication-factor 1 --config a=1 --config b=2"
    )
    assert plan(Topic("new", 4, 1, {"b": "2", "a": "1"})) == [tuple(created.split())]


def test_raises_partitions_alone() -> None:
    assert plan(topic(partitions=5)) == [
        ("kafka-topics.sh", "--alter", "--topic", "usage.v1", "--partitions", "5"),
    ]


def test_alters_only_settings_that_differ() -> None:
    wanted = topic(config={"retention.ms": "3600000", "cleanup.policy": "delete,compact", "segment.ms": "1"})
    [command] = plan(wanted)
    assert command[-1] == "cleanup.policy=[delete,compact],segment.ms=1"
    assert command[0] == "kafka-configs.sh"


def test_refuses_to_take_partitions_away_before_it_changes_anything() -> None:
    with pytest.raises(kafka_topics.TopicsError, match=r"usage\.v1 has 2 partitions .* asks for 1"):
        plan(Topic("new", 1, 1), topic(partitions=1))


def test_diff_shows_what_was_asked_for_and_no_more() -> None:
    difference = kafka_topics.diff(
        kafka_topics.parse_topics(DESCRIPTION), [topic(config={"retention.ms": "1"})]
    )
    assert difference == {
        "before": {"usage.v1": {"partitions": 2, "retention.ms": "3600000"}},
        "after": {"usage.v1": {"partitions": 2, "retention.ms": "1"}},
    }


def test_reads_parameters_as_kafka_writes_them() -> None:
    params = {"name": "t", "partitions": 1, "replication_factor": 1, "config": {"a": True, "b": 3}}
    assert kafka_topics.wanted_topic(params).config == {"a": "true", "b": "3"}


def test_picks_the_line_that_says_what_is_wrong() -> None:
    printed = "Error while executing\n[x] ERROR org.apache.InvalidError: refused\n\tat java.Error\n"
    assert kafka_tools.last_line(printed) == "[x] ERROR org.apache.InvalidError: refused"
    assert kafka_tools.last_line("Error response from daemon: No such container: kafka\n").endswith("kafka")
    assert kafka_tools.last_line("") == "it printed nothing"
