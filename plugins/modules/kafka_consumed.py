#!/usr/bin/python
"""How far a consumer group is behind, and how many dead letters there are, by the broker's own tools."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import TOOL_ARGUMENTS, run

DOCUMENTATION = """
module: kafka_consumed
short_description: How far a consumer group is behind, and how many dead letters there are
description:
  - Reads how far the group's topics reach, and waits until the group has committed all of that. What is sent
    after this moment does not matter.
  - Counts the events of the dead-letter topics since a moment.
  - Changes nothing.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  group:
    description: The consumer group.
    type: str
    required: true
  wait_seconds:
    description: How long to wait for the group.
    type: int
    default: 0
  dead_letter_topics:
    description: The topics of dead letters.
    type: list
    elements: str
    required: true
  since:
    description: Dead letters count from this second on, as in C(2026-01-01T00:00:00Z).
    type: str
    required: true
attributes:
  check_mode:
    description: Reads the same.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Wait until the processors have stored all of it
  gpu_token.pipeline.kafka_consumed:
    bootstrap_server: localhost:29092
    command_config: /etc/kafka/secrets/admin.properties
    group: gpu-token-processor
    wait_seconds: 30
    dead_letter_topics: [token.usage.v1.dlq]
    since: "2026-01-01T00:00:00Z"
  register: consumed
"""

RETURN = """
behind:
  description: Events that the group has not committed; none where it has read no partition yet.
  returned: always
  type: int
dead_letters:
  description: Dead letters since that moment.
  returned: always
  type: int
group:
  description: The consumer group.
  returned: always
  type: str
since:
  description: The moment.
  returned: always
  type: str
"""

PAUSE_SECONDS = 1

Partition = tuple[str, str]


def rows(description: str, group: str) -> Iterator[tuple[Partition, str, str]]:
    """Topic and partition, committed offset and end offset of `kafka-consumer-groups.sh --describe`."""
    for line in description.splitlines():
        columns = line.split()
        if columns[:1] == [group] and len(columns) > 4:
            yield (columns[1], columns[2]), columns[3], columns[4]


def ends(description: str, group: str) -> dict[Partition, int]:
    """How far each partition reaches."""
    return {partition: int(end) for partition, _, end in rows(description, group) if end.isdecimal()}


def events_behind(reach: dict[Partition, int], description: str, group: str) -> int | None:
    """How many events of `reach` the group has not committed; a dash stands for nothing committed."""
    if not reach:
        return None
    committed = {partition: int(at) for partition, at, _ in rows(description, group) if at.isdecimal()}
    return sum(max(end - committed.get(partition, 0), 0) for partition, end in reach.items())


def offsets(printed: str) -> dict[str, int]:
    """Offset by `topic:partition` of `kafka-get-offsets.sh`; without an event there is none, or -1."""
    found = (line.rpartition(":") for line in printed.splitlines())
    return {partition: int(offset) for partition, _, offset in found if offset.isdecimal()}


def events_between(first: str, latest: str) -> int:
    """How many events lie between the first offsets and the latest, by what the tool printed of each."""
    last = offsets(latest)
    return sum(last.get(partition, begin) - begin for partition, begin in offsets(first).items())


def milliseconds(moment: str) -> int:
    """The second that a moment lies in, as Kafka counts time."""
    return calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) * 1000


def behind_after(module: AnsibleModule, group: str, wait_seconds: int) -> int | None:
    """How far the group is behind, once it is not or the time is over."""
    describe = ("--describe", "--group", group)
    description = run(module, "kafka-consumer-groups.sh", describe)
    reach = ends(description, group)
    deadline = time.monotonic() + wait_seconds
    while (behind := events_behind(reach, description, group)) != 0 and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        description = run(module, "kafka-consumer-groups.sh", describe)
    return behind


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "group": {"type": "str", "required": True},
            "wait_seconds": {"type": "int", "default": 0},
            "dead_letter_topics": {"type": "list", "elements": "str", "required": True},
            "since": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    group, since = module.params["group"], module.params["since"]
    try:
        moment = milliseconds(since)
    except ValueError:
        module.fail_json(msg=f"since is {since!r}; it must be a moment such as 2026-01-01T00:00:00Z.")
    behind = behind_after(module, group, module.params["wait_seconds"])
    topics = ("--topic", "|".join(re.escape(topic) for topic in module.params["dead_letter_topics"]))
    first = run(module, "kafka-get-offsets.sh", (*topics, "--time", str(moment)))
    latest = run(module, "kafka-get-offsets.sh", (*topics, "--time", "latest"))
    module.exit_json(
        changed=False, behind=behind, dead_letters=events_between(first, latest), group=group, since=since
    )


if __name__ == "__main__":
    main()
