"""The plays of a playbook, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_IMPORT = "ansible.builtin.import_playbook"


@dataclass(frozen=True)
class Play:
    """A play: its name, and the pattern of the hosts it runs on."""

    name: str
    hosts: str


def plays(playbook: Path) -> Iterator[Play]:
    """The plays of a playbook and of those that it imports."""
    for entry in yaml.safe_load(playbook.read_text(encoding="utf-8")):
        if _IMPORT in entry:
            yield from plays(playbook.parent / entry[_IMPORT])
        else:
            yield Play(entry["name"], entry["hosts"])
