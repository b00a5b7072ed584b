#!/usr/bin/python
"""Find out what a data volume holds and whether it is mounted, without changing it."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: data_volume_info
short_description: What a data volume holds
description: Looks at a block device and at the directory where it should be mounted. Changes nothing.
options:
  device:
    description: The block device.
    type: path
    required: true
  mount:
    description: The directory where it should be mounted.
    type: path
    required: true
  file_system:
    description: The file system that it should have.
    type: str
    required: true
attributes:
  check_mode:
    description: Does the same, since it changes nothing.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Read what the volume holds
  gpu_token.pipeline.data_volume_info:
    device: /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0
    mount: /srv
    file_system: xfs
"""

RETURN = """
attached:
  description: Whether the device is there.
  returned: always
  type: bool
content:
  description: The file system, or a description of other content; an empty string if there is none.
  returned: always
  type: str
mounted:
  description: Whether the device is mounted on the directory.
  returned: always
  type: bool
covered:
  description: Whether another device is mounted on the directory.
  returned: always
  type: bool
hidden:
  description: Some names in the directory, if nothing is mounted on it.
  returned: always
  type: list
  elements: str
tools:
  description: Whether the machine can make that file system.
  returned: always
  type: bool
"""

# Every file system writes something into the first blocks; a new EBS volume reads as zeros.
MIB = 1024 * 1024
EMPTY_MIB = 16
NAMES_SHOWN = 5
# blkid's exit codes.
FOUND = 0
NOTHING = 2
AMBIGUOUS = 8


def is_zero(device: Path) -> bool:
    """Tell whether a device begins with nothing but zeros."""
    with device.open("rb") as volume:
        return not any(any(volume.read(MIB)) for _ in range(EMPTY_MIB))


def content(code: int, printed: str, device: Path) -> str:
    """Put blkid's answer into words."""
    tags = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if code == AMBIGUOUS:
        return "several file systems at once"
    if "TYPE" in tags:
        return tags["TYPE"]
    if "PTTYPE" in tags:
        return f"a partition table ({tags['PTTYPE']})"
    return "" if is_zero(device) else "data without a file system"


def is_mounted(device: Path, mount: Path) -> bool:
    """Tell whether a directory lies on a device."""
    return mount.exists() and mount.stat().st_dev == device.stat().st_rdev


def names(mount: Path) -> list[str]:
    """Name what is in a directory."""
    return sorted(entry.name for entry in mount.iterdir())[:NAMES_SHOWN] if mount.is_dir() else []


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "path", "required": True},
            "mount": {"type": "path", "required": True},
            "file_system": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    device, mount = Path(module.params["device"]), Path(module.params["mount"])
    attached = device.exists()
    held = ""
    if attached:
        code, printed, said = module.run_command(
            [module.get_bin_path("blkid", required=True), "--probe", "--output", "export", str(device)]
        )
        if code not in (FOUND, NOTHING, AMBIGUOUS):
            module.fail_json(msg=f"blkid cannot read {device}: {said.strip() or f'exit status {code}'}")
        held = content(code, printed, device)
    mounted = attached and is_mounted(device, mount)
    module.exit_json(
        changed=False,
        attached=attached,
        content=held,
        mounted=mounted,
        covered=mount.is_mount() and not mounted,
        hidden=[] if mount.is_mount() else names(mount),
        tools=module.get_bin_path(f"mkfs.{module.params['file_system']}") is not None,
    )


if __name__ == "__main__":
    main()
