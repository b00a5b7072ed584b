"""The sources that the documentation and the lab name are ones that the collector takes."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpu_token_producers.sources.settings import TYPES, Sources, load_sources

from lab.workload import plan

DOCS = sorted(Path("docs").glob("*.md"))
INTAKE = {"token_file": "/run/secrets/intake-token"}


def load(tmp_path: Path, sources: list[Any]) -> Sources:
    path = tmp_path / "sources.yml"
    path.write_text(yaml.safe_dump({"intake": INTAKE, "sources": sources}))
    return load_sources(path)


def test_each_row_of_the_table(tmp_path: Path) -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\{name: [^`]+\})`", Path("docs/sources.md").read_text(), re.MULTILINE)
    found = {source.type for row in rows for source in load(tmp_path, [yaml.safe_load(row)]).sources}
    assert found == set(TYPES)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_list_of_sources(path: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL):
        if re.search(r"^(producers_)?sources:", block, re.MULTILINE):
            content = yaml.safe_load(block)
            sources = content.get("producers_sources") or content["sources"]
            assert len(load(tmp_path, sources).sources) == len(sources)


def test_the_lab_s(tmp_path: Path) -> None:
    sources = plan.sources(IPv4Address("10.0.0.1"))
    assert len(load(tmp_path, sources).sources) == len(sources)
