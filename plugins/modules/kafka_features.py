#!/usr/bin/python
"""Raise the level of one of Kafka's features with the tools inside the broker's container."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import (
    TOOL_ARGUMENTS,
    parse_fields,
    run,
)

DOCUMENTATION = """
module: kafka_features
short_description: Raise the level of one of Kafka's features
description:
  - A cluster that has the level, or a higher one, is left alone.
  - A level that the running version does not know is refused.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  feature:
    description: The feature's name, as C(kafka-features.sh describe) prints it.
    type: str
    required: true
  level:
    description: The level that the cluster should have at least.
    type: int
    required: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the level before and after.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Let the controllers' quorum change
  gpu_token.pipeline.kafka_features:
    bootstrap_server: localhost:29092
    command_config: /etc/kafka/secrets/admin.properties
    feature: kraft.version
    level: 1
"""

RETURN = """
level:
  description: The level before the module ran.
  returned: always
  type: int
"""


def levels(description: str, feature: str) -> tuple[int, int]:
    """The feature's level, and the highest that the running version knows; 0 and 0 if it knows none."""
    for line in description.splitlines():
        found = parse_fields(line)
        if found.get("Feature") == feature:
            return int(found["FinalizedVersionLevel"]), int(found["SupportedMaxVersion"])
    return 0, 0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "feature": {"type": "str", "required": True},
            "level": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    feature, wanted = module.params["feature"], module.params["level"]
    level, highest = levels(run(module, "kafka-features.sh", ("describe",)), feature)
    if wanted > highest:
        module.fail_json(
            msg=f"{feature} cannot be raised to {wanted}: the broker in container "
            f"{module.params['container']} knows it up to {highest}; run a newer version of Kafka first."
        )
    changed = wanted > level
    if changed and not module.check_mode:
        run(module, "kafka-features.sh", ("upgrade", "--feature", f"{feature}={wanted}"))
    module.exit_json(
        changed=changed,
        level=level,
        diff={"before": {feature: level}, "after": {feature: wanted}} if changed else {},
    )


if __name__ == "__main__":
    main()
