"""Documentation of the options that every module takes which calls Kafka's tools."""


class ModuleDocFragment:
    """The same options as TOOL_ARGUMENTS in module_utils/kafka_tools.py."""

    DOCUMENTATION = """
options:
  container:
    description: Name of the broker's container.
    type: str
    default: kafka
  bootstrap_server:
    description: The broker's address as seen inside its container.
    type: str
    required: true
  command_config:
    description: File inside the container with the login for Kafka's tools.
    type: path
    required: true
  bin_dir:
    description: Where the image keeps Kafka's tools.
    type: str
    default: /opt/kafka/bin
"""
