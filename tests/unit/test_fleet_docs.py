"""What docs/ shows of fleet.yml is true."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from fleet import docs
from fleet.cli import app
from fleet.model import parse

ROOT = Path(__file__).parents[2]


def fleet_data() -> dict[str, Any]:
    """fleet.yml, to be changed."""
    data: dict[str, Any] = yaml.safe_load((ROOT / "fleet.yml").read_text())
    return data


def run(*arguments: str) -> Result:
    """`fleet docs` with these arguments."""
    return CliRunner().invoke(app, ["docs", *arguments])


def test_the_committed_pages_are_up_to_date() -> None:
    done = run("--check", str(ROOT / "fleet.yml"))
    assert done.exit_code == 0, done.output


def test_a_changed_fleet_is_noticed_and_written_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in docs.PARTS:
        shutil.copy(ROOT / "docs" / name, tmp_path / "docs")
    data = fleet_data()
    data["roles"]["mongo"]["ports"]["metrics"] = 9216
    data["roles"]["mongo"]["data_disk_gib"] = 9217
    file = tmp_path / "fleet.yml"
    file.write_text(yaml.safe_dump(data))
    done = run("--check", str(file))
    assert (done.exit_code, "architecture.md is out of date; run: make docs" in done.output) == (1, True)
    assert run(str(file)).exit_code == run("--check", str(file)).exit_code == 0
    for name in docs.PARTS:
        before, after = (folder / "docs" / name for folder in (ROOT, tmp_path))
        assert re.search("921[67]", after.read_text())
        around = [
            re.sub(f"{docs.BEGIN}.*?{docs.END}", "", page.read_text(), flags=re.S) for page in (before, after)
        ]
        assert around[0] == around[1] != ""


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^The page has no place for what is made: put these lines there\."):
        docs.updated("# A page\n", "text\n")


def test_a_wrong_fleet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("project: 1\n")
    assert run(str(path)).exit_code == 1


def test_every_machine_and_every_port_is_shown() -> None:
    data = fleet_data()
    data["roles"]["kafka"]["count"] = 3
    text = docs.machines(parse(data))
    assert all(f'kafka-{number}["kafka-{number}<br>9092 client<br>' in text for number in (1, 2, 3))


def test_a_flow_between_all_roles_is_drawn_for_each_pair() -> None:
    data = fleet_data()
    for role in data["roles"].values():
        role.setdefault("ports", {})["metrics"] = 9100
    data["flows"] = [{"from": "all", "to": "all", "port": 9100}]
    count = len(data["roles"])
    assert len(re.findall(r"-->\|9100\|", docs.machines(parse(data)))) == count * (count - 1)


def test_the_network_table_is_made_of_the_flows() -> None:
    data = fleet_data()
    data["roles"]["kafka"]["ports"]["metrics"] = 9100
    data["flows"] = [
        {"from": "all", "to": "kafka", "port": 9100},
        {"from": "operator", "to": "all", "port": 22},
        {"from": "mongo", "to": "kafka", "port": 9092},
    ]
    text = docs.flows(parse(data))
    assert "| operator | 22 | 22 | 22 | 22 |\n" in text
    assert "| kafka | 9100 | none | none | none |\n" in text
    assert "| mongo | 9092, 9100 | none | none | none |\n" in text
    assert "| kafka | 9100 | metrics |\n" in text


def test_a_network_outside_is_shown_with_what_it_opens() -> None:
    data = fleet_data()
    text = docs.flows(parse(data))
    assert "| gpu_hosts | none | none | none | none |\n" in text
    assert "| gpu_hosts | none: closed | kafka 9092 |\n" in text
    assert "gpu_hosts" not in docs.machines(parse(data))
    data["outside"]["gpu_hosts"] = ["198.51.100.0/24", "203.0.113.7/32"]
    text = docs.flows(parse(data))
    assert "| gpu_hosts | 9092 | none | none | none |\n" in text
    assert "| gpu_hosts | 198.51.100.0/24, 203.0.113.7/32 | kafka 9092 |\n" in text
    drawn = docs.machines(parse(data))
    assert '  gpu_hosts(["gpu_hosts: 198.51.100.0/24, 203.0.113.7/32"])\n' in drawn
    assert "  gpu_hosts -->|9092| kafka\n" in drawn
