"""What Ansible must know of the environment: ansible.yml in its state folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from lab.images import ImageSet
from lab.report import Report
from lab.settings import Settings
from lab.ssh import Keys
from lab.workload import plan, process


def write(settings: Settings, keys: Keys, images: ImageSet, report: Report) -> None:
    """Write ansible.yml if it is not as it should be."""
    path = file(settings)
    text = yaml.safe_dump(content(settings, keys, images), sort_keys=False)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        report.changed(f"settings for Ansible in {path}")


def file(settings: Settings) -> Path:
    """Where the settings for Ansible are."""
    return settings.state / "ansible.yml"


def content(settings: Settings, keys: Keys, images: ImageSet) -> dict[str, object]:
    """The settings; images are references as a machine can pull them."""
    prefix = f"{settings.registry}/" if images.source == "built" else ""
    return {
        "ssh_private_key_file": str(keys.private),
        "ssh_known_hosts_file": str(keys.known_hosts),
        "registry": settings.registry,
        "images": {name: f"{prefix}{getattr(images, name)}" for name in ("kafka", "mongo", "python")},
        "images_from": images.source,
        "sources": plan.sources(settings.host_address) if process.wanted(settings) else [],
    }
