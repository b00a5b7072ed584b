"""The pictures in docs/ are those of fleet.yml."""

from __future__ import annotations

import html
import json
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
from fleet.network import document
from fleet.playbooks import plays
from fleet.sequence import provisioning

ROOT = Path(__file__).parents[2]
FLEET_FILE = ROOT / "fleet.yml"
DOT = ROOT / "docs" / "architecture.dot"
SVG = ROOT / "docs" / "architecture.svg"
CHART = ROOT / "docs" / "provisioning.msc"
CHART_SVG = ROOT / "docs" / "provisioning.svg"
PLAYBOOKS = ROOT / "playbooks"
REMEDY = "run: make docs"


def fleet_data() -> dict[str, Any]:
    """fleet.yml, to be changed."""
    data: dict[str, Any] = yaml.safe_load(FLEET_FILE.read_text())
    return data


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("diagram", DOT),
        ("sequence", CHART),
        ("network", ROOT / "docs" / "network.md"),
    ],
)
def test_the_committed_text_is_the_generated_one(
    command: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, [command])
    assert done.exit_code == 0
    assert done.output == file.read_text(), REMEDY


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


def test_the_committed_chart_shows_the_same_words() -> None:
    """Not the same bytes: where mscgen breaks a label depends on the fonts it finds."""
    drawn = re.findall(r"<text[^>]*>(.*?)</text>", CHART_SVG.read_text(), re.DOTALL)
    head, *rows = CHART.read_text().split(";\n")[1:]
    participants = re.sub(r'\w+ \[label="(.*?)"\]', r"\1", head).replace(",", "")
    labels = [json.loads(label) for row in rows for label in re.findall(r"label=(\".*\")", row)]
    assert html.unescape(" ".join(drawn)).split() == " ".join([participants, *labels]).split(), REMEDY


def test_every_play_is_drawn_in_its_order() -> None:
    text = provisioning(load(FLEET_FILE), PLAYBOOKS)
    labels = [json.loads(label) for label in re.findall(r"label=(\".*\")", text)]
    for playbook in ("site.yml", "verify.yml"):
        names = [play.name for play in plays(PLAYBOOKS / playbook)]
        start = labels.index(playbook, labels.index("groups, addresses")) + 1
        assert labels[start : start + len(names)] == names


def test_a_play_is_drawn_to_the_roles_that_it_runs_on(tmp_path: Path) -> None:
    for name in ("site.yml", "verify.yml"):
        (tmp_path / name).write_text("[{name: Both, hosts: all}, {name: One, hosts: 'mongo:&verify_up'}]")
    text = provisioning(load(FLEET_FILE), tmp_path)
    assert (
        "ansible=>kafka, ansible=>mongo, ansible=>processor, "
        'ansible=>producers [label="Both"];\n  ansible=>mongo [label="One"];'
    ) in text


def test_a_play_on_unknown_hosts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("[{name: Archive, hosts: archive}]")
    with pytest.raises(ValueError, match=r"^archive is no group of fleet\.yml: "):
        provisioning(load(FLEET_FILE), tmp_path)


@pytest.mark.skipif(shutil.which("mscgen") is None, reason="mscgen is not installed here")
def test_mscgen_reads_the_text() -> None:
    done = subprocess.run(
        ["mscgen", "-T", "svg", "-i", str(CHART), "-o", "-"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "</svg>" in done.stdout


def test_the_network_table_is_made_of_the_flows() -> None:
    data = fleet_data()
    data["roles"]["kafka"]["ports"]["metrics"] = 9100
    data["flows"] = [
        {"from": "all", "to": "kafka", "port": 9100},
        {"from": "operator", "to": "all", "port": 22},
        {"from": "mongo", "to": "kafka", "port": 9092},
    ]
    text = document(parse(data))
    assert "| operator | 22 | 22 | 22 | 22 |\n" in text
    assert "| kafka | 9100 | none | none | none |\n" in text
    assert "| mongo | 9092, 9100 | none | none | none |\n" in text
    assert "| kafka | 9100 | metrics |\n" in text
