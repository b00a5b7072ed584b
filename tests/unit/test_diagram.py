"""The pictures in docs/ are those of fleet.yml."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fleet.cli import app
from fleet.diagram import architecture
from fleet.model import load, parse

ROOT = Path(__file__).parents[2]
FLEET_FILE = ROOT / "fleet.yml"
DOT = ROOT / "docs" / "architecture.dot"
SVG = ROOT / "docs" / "architecture.svg"
REMEDY = (
    "run: fleet diagram > docs/architecture.dot; dot -Tsvg docs/architecture.dot -o docs/architecture.svg"
)


def fleet_data() -> dict[str, Any]:
    """fleet.yml, to be changed."""
    data: dict[str, Any] = yaml.safe_load(FLEET_FILE.read_text())
    return data


def test_the_committed_text_is_the_generated_one() -> None:
    done = CliRunner().invoke(app, ["diagram", str(FLEET_FILE)])
    assert done.exit_code == 0
    assert done.output == DOT.read_text(), REMEDY


def test_the_committed_picture_shows_the_same_nodes_and_edges() -> None:
    """Not the same bytes: those differ between versions of Graphviz."""
    drawn = {
        text.replace("&#45;", "-").replace("&gt;", ">")
        for text in re.findall(r"<title>(.*?)</title>", SVG.read_text())
    }
    edges = {f"{tail}->{head}" for tail, head in re.findall(r'"?([\w-]+)"? -> "([\w-]+)"', DOT.read_text())}
    fleet = load(FLEET_FILE)
    clusters = {"cluster_subnet", *(f"cluster_{role}" for role in fleet.roles)}
    assert drawn == {"fleet", "operator", *fleet.machines(), *clusters, *edges}, REMEDY


def test_every_machine_and_every_port_is_shown() -> None:
    data = fleet_data()
    data["roles"]["kafka"]["count"] = 3
    text = architecture(parse(data))
    assert all(f'"kafka-{number}" [label="kafka-{number}\\n9092 client' in text for number in (1, 2, 3))


def test_a_flow_between_all_roles_is_drawn_for_each_pair() -> None:
    data = fleet_data()
    for role in data["roles"].values():
        role["ports"] = {"metrics": 9100}
    data["flows"] = [{"from": "all", "to": "all", "port": 9100}]
    text = architecture(parse(data))
    count = len(data["roles"])
    assert len(re.findall(r" -> .*label=\"9100\"", text)) == count * (count - 1)


def test_a_wrong_fleet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("project: 1\n")
    done = CliRunner().invoke(app, ["diagram", str(path)])
    assert done.exit_code == 1


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz (dot) is not installed here")
def test_graphviz_reads_the_text() -> None:
    done = subprocess.run(
        ["dot", "-Tcanon", str(DOT)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
