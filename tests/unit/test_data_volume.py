"""What a data volume holds, as blkid and the module see it, and what preflight says of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpu_token.pipeline.plugins.modules import data_volume_info as info

from .role_files import role_variables

SIZE = 64 * 1024 * 1024
# A master boot record with one Linux partition of 32 MiB that begins at 1 MiB.
PARTITIONED = (
    bytes(446)
    + bytes([0, 0, 0, 0, 0x83, 0, 0, 0])
    + (2048).to_bytes(4, "little")
    + (65536).to_bytes(4, "little")
    + bytes(48)
    + b"\x55\xaa"
)
GOOD = {"attached": True, "content": "", "mounted": False, "covered": False, "hidden": [], "tools": True}


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file that stands for an empty volume."""
    path = tmp_path / "volume"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def held(device: Path) -> str:
    """What the module says of it."""
    command = ["/usr/sbin/blkid", "--probe", "--output", "export", str(device)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    content: str = info.content(done.returncode, done.stdout, device)
    return content


def write(device: Path, offset: int, data: bytes) -> None:
    with device.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_zeros_are_an_empty_volume(device: Path) -> None:
    assert held(device) == ""


def test_a_file_system_is_named(device: Path) -> None:
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", str(device)], check=True)
    assert held(device) == "ext4"


def test_a_partition_table_is_not_empty(device: Path) -> None:
    write(device, 0, PARTITIONED)
    assert held(device) == "a partition table (dos)"


@pytest.mark.parametrize("offset", [0, 4096, 16 * 1024 * 1024 - 1])
def test_data_without_a_file_system_is_not_empty(device: Path, offset: int) -> None:
    write(device, offset, b"x")
    assert held(device) == "data without a file system"


def test_several_file_systems_are_not_empty(device: Path) -> None:
    assert info.content(info.AMBIGUOUS, "", device) == "several file systems at once"


def refusals(rules: str, **variables: Any) -> list[str]:
    """What preflight says, as plain sentences."""
    context = {**role_variables("data_volume"), "inventory_hostname": "kafka-1", **variables}
    templar = Templar(DataLoader(), variables=context)
    found = templar.template(context[rules])
    return [" ".join(rule["otherwise"].split()) for rule in found if not rule["holds"]]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"data_volume_id": "vol-0123456789abcdef0"}, None),
        (
            {},
            "data_volume_id is empty, and fleet.yml gives kafka-1 a data disk; attach its volume as /dev/sdf",
        ),
        ({"data_volume_id": "sdf"}, "data_volume_id is sdf, which is no volume's id; set it to one such as"),
        (
            {"data_volume_id": "vol-0123456789abcdef0", "data_volume_file_system": "btrfs"},
            "data_volume_file_system is btrfs; set it to ext4 or xfs.",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(variables: dict[str, str], sentence: str | None) -> None:
    said = refusals("_data_volume_setting_rules", **variables)
    assert said == [] if sentence is None else sentence in said[0]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({}, None),
        ({"content": "xfs"}, None),
        ({"content": "xfs", "mounted": True}, None),
        (
            {"attached": False},
            "data_volume_id is vol-0123456789abcdef0, and kafka-1 has no "
            "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0; attach that volume to it",
        ),
        (
            {"content": "ext4"},
            "data_volume_file_system is xfs, and vol-0123456789abcdef0 on kafka-1 holds ext4; "
            "only an empty volume is formatted",
        ),
        (
            {"content": "data without a file system"},
            "vol-0123456789abcdef0 on kafka-1 holds data without a file system; only an empty volume",
        ),
        (
            {"covered": True},
            "data_volume_mount is /srv, where another device is mounted on kafka-1; unmount that",
        ),
        (
            {"hidden": ["kafka"]},
            "data_volume_mount /srv on kafka-1 holds kafka on the machine's own disk, which the",
        ),
    ],
)
def test_a_volume_that_cannot_be_used_is_refused(state: dict[str, Any], sentence: str | None) -> None:
    said = refusals(
        "_data_volume_rules",
        data_volume_id="vol-0123456789abcdef0",
        _data_volume_state={**GOOD, **state},
    )
    assert said == [] if sentence is None else sentence in said[0]
