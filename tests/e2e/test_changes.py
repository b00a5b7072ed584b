"""What is changed changes what depends on it, and nothing else. Tests run in order.

So a site whose passwords test_secrets has replaced has nothing more to change.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace

import pytest
from ansible_collections.gpu_token.pipeline.plugins.modules.kafka_topics import Topic, parse_topics

from .environment import FLEET, every_secret
from .runner import START, kafka_tool, play

pytestmark = pytest.mark.usefixtures("converged")

OnMachine = Callable[..., str]
ContainerIds = Callable[[], dict[str, str]]


def test_what_is_changed_changes_what_depends_on_it_alone(
    token: str, api: str, container_ids: ContainerIds, on_machine: OnMachine
) -> None:
    """In one run: a topic's retention, the processor's window, the API's token from a vault."""
    containers, topics = container_ids(), topics_of(on_machine)
    longer, same = FLEET.topics.gpu_metrics.model_dump(), FLEET.topics.token_usage.model_dump()
    longer["retention_hours"] += 24
    # All that the broker has: a topic's part of the disk depends on how many partitions there are.
    letters = [
        {**FLEET.dead_letters.model_dump(), "name": f"{topic['name']}.dlq"} for topic in (longer, same)
    ]
    other = token[::-1]
    run = play(
        "site.yml",
        kafka_topics=[longer, same, *letters],
        processor_window_seconds=60,
        secrets_store="vault",
        fleet_secrets={**every_secret(), "api_token": other},
    ).must_pass()
    assert run.changed == {
        "kafka-1": ["Create and alter topics"],
        "processor-1": ["Write the settings", "Write the secrets", "Write the compose file", START],
    }
    after = container_ids()
    assert {name for name in after if after[name] != containers[name]} == {"processor"}

    kept = topics[longer["name"]]
    retention = {"retention.ms": str(longer["retention_hours"] * 3_600_000)}
    assert topics_of(on_machine) == {
        **topics,
        kept.name: replace(kept, config={**kept.config, **retention}),
    }
    assert on_machine("processor-1", "docker", "exec", "processor", "printenv", "WINDOW_SECONDS") == "60"
    assert status(api, other) == 200
    assert status(api, token) == 401

    play("site.yml", tags="kafka,processor").must_pass()
    play("site.yml", tags="kafka").must_change_nothing()


def topics_of(on_machine: OnMachine) -> dict[str, Topic]:
    """Every topic as the broker has it."""
    return parse_topics(on_machine("kafka-1", *kafka_tool("topics", "--describe")))


def status(api: str, token: str) -> int:
    """What the API answers to whoever has a token."""
    request = urllib.request.Request(f"{api}/usage", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_tagged_rerun_of_one_machine_needs_no_other() -> None:
    run = play("site.yml", limit="processor-1", tags="processor_configure").must_change_nothing()
    assert run.hosts - {"localhost"} == {"processor-1"}
