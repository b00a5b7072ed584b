#!/usr/bin/python
"""Set the passwords of those Kafka users who cannot log in with them yet."""

from __future__ import annotations

import re
import ssl
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_login import (
    MECHANISM,
    LoginBroken,
    LoginRefused,
    login,
)
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import TOOL_ARGUMENTS, run

DOCUMENTATION = """
module: kafka_users
short_description: Kafka's users and their passwords
description:
  - Logs in as each user with SCRAM-SHA-512 over TLS, as clients do. If that is refused, sets the password.
  - Users that are not listed stay as they are, unless O(exclusive_prefix) names them.
  - Without an ACL a user may do nothing.
  - No password appears in a command line, in a file or in the module's output.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  host:
    description: The broker's address as seen from the machine; its certificate must name it.
    type: str
    required: true
  port:
    description: Port of the listener at which the users log in.
    type: int
    required: true
  ca_file:
    description: Certificate of the authority that signed the broker's, in PEM.
    type: path
    required: true
  users:
    description: The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      password:
        description: The password; letters, digits and C(._~+/-).
        type: str
        required: true
  exclusive_prefix:
    description:
      - Users whose names begin so and that are not listed are removed. Empty removes nobody.
      - If it is set, one more JVM starts.
    type: str
    default: ""
attributes:
  check_mode:
    description: Logs in as usual, and reports whose password would be set and who would be removed.
    support: full
  diff_mode:
    description: Shows whose password was refused, and who was removed.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Let the processor in
  gpu_token.pipeline.kafka_users:
    bootstrap_server: localhost:29092
    command_config: /etc/kafka/secrets/admin.properties
    host: 10.0.1.10
    port: 9092
    ca_file: /opt/gpu-token/kafka/secrets/ca.pem
    users:
      - {name: processor, password: "{{ kafka_processor_password }}"}
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
"""

CONFIGS = "kafka-configs.sh"
USERS = ("--entity-type", "users")
DESCRIBED = re.compile(rf"user-principal '(.+)' are .*{MECHANISM}")
ITERATIONS = 8192
# A broker gets a new password from the controllers, a moment after the tool has returned.
LOOKS = 20
LOOK_SECONDS = 0.5


def accepted(module: AnsibleModule, user: dict[str, Any]) -> bool:
    """Tell whether the broker lets the user in; end the module if it cannot be asked."""
    address = (module.params["host"], module.params["port"])
    where = f"The broker at {address[0]}:{address[1]}"
    try:
        login(address, module.params["ca_file"], user["name"], user["password"])
    except LoginRefused:
        return False
    except ssl.SSLCertVerificationError as error:
        module.fail_json(
            msg=f"{where} has a certificate that {module.params['ca_file']} does not vouch for: "
            f"{error.verify_message}"
        )
    except (LoginBroken, OSError) as error:
        module.fail_json(msg=f"{where} cannot be asked who may log in: {error}")
    return True


def set_password(module: AnsibleModule, user: dict[str, Any]) -> None:
    """Set the password, and wait until the broker accepts it."""
    arguments = ["--alter", *USERS, "--entity-name", user["name"], "--add-config-file"]
    run(
        module,
        CONFIGS,
        arguments,
        text=f"{MECHANISM}=iterations={ITERATIONS},password={user['password']}",
    )
    for _ in range(LOOKS):
        if accepted(module, user):
            return
        time.sleep(LOOK_SECONDS)
    module.fail_json(msg=f"The password of {user['name']} was set, and the broker refuses it still.")


def strangers(module: AnsibleModule) -> list[str]:
    """Users with the prefix that are not listed."""
    prefix = module.params["exclusive_prefix"]
    if not prefix:
        return []
    listed = {user["name"] for user in module.params["users"]}
    found = DESCRIBED.findall(run(module, CONFIGS, ["--describe", *USERS]))
    return sorted(name for name in found if name.startswith(prefix) and name not in listed)


def remove(module: AnsibleModule, name: str) -> None:
    """Take the password away, which is all that makes a user."""
    run(module, CONFIGS, ["--alter", *USERS, "--entity-name", name, "--delete-config", MECHANISM])


def passwords(names: list[str], verdict: str) -> dict[str, str]:
    """What a diff shows of passwords."""
    return dict.fromkeys(names, f"password {verdict}")


def main() -> None:
    """Run the module."""
    user_options = {
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
    }
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "ca_file": {"type": "path", "required": True},
            "users": {"type": "list", "elements": "dict", "required": True, "options": user_options},
            "exclusive_prefix": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    surplus = strangers(module)
    refused = [user for user in module.params["users"] if not accepted(module, user)]
    if not module.check_mode:
        for user in refused:
            set_password(module, user)
        for name in surplus:
            remove(module, name)
    names = [user["name"] for user in refused]
    module.exit_json(
        changed=bool(names or surplus),
        actions=[f"set the password of {name}" for name in names] + [f"remove {name}" for name in surplus],
        diff={
            "before": passwords(names, "refused") | passwords(surplus, "accepted"),
            "after": passwords(names, "accepted"),
        }
        if names or surplus
        else {},
    )


if __name__ == "__main__":
    main()
