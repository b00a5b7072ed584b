"""What the kafka_* modules share: Kafka's tools inside the broker's container."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

TOOL_ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "default": "kafka"},
    "bootstrap_server": {"type": "str", "required": True},
    "command_config": {"type": "path", "required": True},
    "bin_dir": {"type": "str", "default": "/opt/kafka/bin"},
}

# The container's settings give the broker its heap; a tool must not reserve the same amount again.
TOOL_ENVIRONMENT = {
    "KAFKA_HEAP_OPTS": "-Xmx128m",
    "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "KAFKA_OPTS": "",
    "JMX_PORT": "",
}

# Standard input as a file: a secret in it appears in no list of processes and on no disk.
# Not /dev/stdin, which belongs to root under docker exec.
WITH_INPUT = ("bash", "-c", 'exec "$@" <(cat)', "bash")


# The login and another file as one file, which is written nowhere.
WITH_BOTH = (
    "bash",
    "-c",
    'exec "$0" --bootstrap-server "$1" --command-config <(cat "$2"; echo; cat "$3") "${@:4}"',
)


def parse_fields(line: str) -> dict[str, str]:
    """Read one tab-separated line of `Name: value` fields."""
    parts = (part.partition(":") for part in line.strip().split("\t"))
    return {name.strip(): value.strip() for name, _, value in parts}


def last_line(text: str) -> str:
    """Find the line of a tool's output that names the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"(Exception|Error)\b", line)]
    return ([line for line in telling if not line.startswith("at ")] or lines or ["it printed nothing"])[-1]


def run(
    module: AnsibleModule,
    tool: str,
    arguments: Sequence[str],
    text: str | None = None,
    also_config: str | None = None,
) -> str:
    """Run one of Kafka's tools inside the container and return what it printed.

    A text, as a secret, is given as a file, whose name follows the last argument. `also_config` is a file
    inside the container whose settings the tool needs besides its login.
    """
    params = module.params
    command = ["docker", "exec", *(f"--env={name}={value}" for name, value in TOOL_ENVIRONMENT.items())]
    command += [params["container"]] if text is None else ["--interactive", params["container"], *WITH_INPUT]
    path, server, login = f"{params['bin_dir']}/{tool}", params["bootstrap_server"], params["command_config"]
    if also_config is None:
        command += [path, "--bootstrap-server", server, "--command-config", login, *arguments]
    else:
        command += [*WITH_BOTH, path, server, also_config, login, *arguments]
    code, out, err = module.run_command(command, data=text)
    if code != 0:
        reason = last_line(f"{out}\n{err}")
        module.fail_json(
            msg=f"{tool} in container {params['container']} failed: {reason}", stdout=out, stderr=err
        )
    return str(out)
