#!/usr/bin/python
"""Ask Kafka or MongoDB something without a login."""

from __future__ import annotations

import socket
import ssl
import struct

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: anonymous_access
short_description: Find out whether Kafka or MongoDB answer without a login
description:
  - Asks the broker for its topics, or the store for its databases, without a login, with TLS and without.
  - Changes nothing.
options:
  service:
    description: Which service it is.
    type: str
    choices: [kafka, mongodb]
    required: true
  host:
    description: The service's address. Its certificate must name this address.
    type: str
    required: true
  port:
    description: The service's port.
    type: int
    required: true
  ca_file:
    description: Certificate of the authority that signed the service's, in PEM.
    type: path
    required: true
attributes:
  check_mode:
    description: Does the same, since it changes nothing.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Ask the broker
  gpu_token.pipeline.anonymous_access:
    service: kafka
    host: 10.0.1.10
    port: 9092
    ca_file: /opt/gpu-token/processor/secrets/ca.pem
  register: access
"""

RETURN = """
plaintext:
  description: The result without TLS, C(refused) or C(answered).
  returned: always
  type: str
tls:
  description: The result with TLS.
  returned: always
  type: str
"""

PATIENCE_SECONDS = 10
# TLS's errors for an answer that is not TLS.
TLS_ALERT = b"\x15\x03"
# MongoDB's code for "command … requires authentication".
UNAUTHORIZED = b"\x10code\x00" + struct.pack("<i", 13)


def kafka_question() -> bytes:
    """Metadata of every topic: size, request 3 in version 0, its number, no client's name, no topics."""
    body = struct.pack(">hhihi", 3, 0, 1, -1, 0)
    return struct.pack(">i", len(body)) + body


def mongodb_question() -> bytes:
    """listDatabases of the database admin, as OP_MSG."""
    elements = (
        b"\x10listDatabases\x00" + struct.pack("<i", 1) + b"\x02$db\x00" + struct.pack("<i", 6) + b"admin\x00"
    )
    document = struct.pack("<i", len(elements) + 5) + elements + b"\x00"
    body = struct.pack("<IB", 0, 0) + document
    return struct.pack("<iiii", len(body) + 16, 1, 0, 2013) + body


QUESTIONS = {"kafka": kafka_question, "mongodb": mongodb_question}


def ask(connection: socket.socket, service: str) -> str:
    """Ask; a service that demands a login closes the connection, or answers with an error."""
    try:
        connection.sendall(QUESTIONS[service]())
        answer = connection.recv(65_536)
    except ConnectionError:
        return "refused"
    refused = not answer or answer.startswith(TLS_ALERT) or UNAUTHORIZED in answer
    return "refused" if refused else "answered"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "choices": list(QUESTIONS), "required": True},
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "ca_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    address = (params["host"], params["port"])
    context = ssl.create_default_context(cafile=params["ca_file"])
    try:
        with socket.create_connection(address, PATIENCE_SECONDS) as plain:
            plaintext = ask(plain, params["service"])
        with (
            socket.create_connection(address, PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=params["host"]) as secured,
        ):
            tls = ask(secured, params["service"])
    except OSError as error:
        module.fail_json(
            msg=f"{params['service']} at {params['host']}:{params['port']} cannot be asked: {error}"
        )
    module.exit_json(changed=False, plaintext=plaintext, tls=tls)


if __name__ == "__main__":
    main()
