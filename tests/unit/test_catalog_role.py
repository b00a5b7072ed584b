"""The catalogue's part of role processor, run on this computer against a store of its own."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpu_token_processor.ledger.catalog_file import load_catalog
from gpu_token_processor.ledger.catalog_store import read_catalog

from testing.store import Store

from . import local_play
from .role_files import ROOT

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Only the catalogue
      environment: {{PATH: "{folder}/bin:{path}"}}
      block:
        - ansible.builtin.include_role:
            name: gpu_token.pipeline.processor
            tasks_from: catalog
      rescue:
        - ansible.builtin.copy:
            content: "{{{{ ansible_failed_result.msg }}}}"
            dest: "{folder}/refusal"
            mode: "0600"
          check_mode: false
"""
# In place of Docker: the container's command on this computer, with the container's settings.
DOCKER = """#!/bin/sh
[ "$1 $2 $3" = "exec --interactive processor" ] || exit 125
shift 3
MONGO_URL={url} MONGO_DATABASE={database} exec {bin}/"$@"
"""


class Machine:
    """One that has the processor."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.database = f"catalog_{uuid.uuid4().hex[:8]}"
        self.catalog = folder / "files" / "catalog.yml"
        for name in ("bin", "files"):
            (folder / name).mkdir()
        (folder / "play.yml").write_text(PLAY.format(folder=folder, path=os.environ["PATH"]))
        docker = folder / "bin" / "docker"
        bin_dir = Path(sys.executable).parent
        docker.write_text(DOCKER.format(url=store.url, database=self.database, bin=bin_dir))
        docker.chmod(0o755)

    def run(self, *flags: str, askable: bool = True) -> list[str]:
        """The tasks that report a change; "refused" counts as one."""
        done = local_play.run(
            self.folder / "play.yml",
            "processor-1",
            *flags,
            processor_catalog=str(self.catalog),
            service_askable={"processor": askable},
        )
        self.said = done.stdout
        changed, task = [], ""
        for line in done.stdout.splitlines():
            if found := re.match(r"(?:TASK|RUNNING HANDLER) \[(?:.* : )?(.*)\]", line):
                task = found[1]
            elif line.startswith("changed:"):
                changed.append(task)
        return changed

    def write(self, usd_per_hour: float, **more: Any) -> None:
        row = {"selector": {"gpu_name": "H100"}, "usd_per_hour": usd_per_hour, **more}
        self.catalog.write_text(yaml.safe_dump({"prices": [row]}))

    def prices(self) -> list[float]:
        """In the store."""
        with self.store.client() as client:
            return sorted(float(row.usd_per_gpu_hour) for row in read_catalog(client[self.database]).prices)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.plain(tmp_path_factory.mktemp("store")).running() as store:
        yield store


@pytest.fixture
def machine(tmp_path: Path, store: Store) -> Machine:
    """It has a database of its own."""
    return Machine(tmp_path, store)


def test_a_change_is_applied_once_and_a_dry_run_says_it_before(machine: Machine) -> None:
    machine.write(4)
    change = ["Apply the catalogue"]
    assert machine.run("--check", "--diff") == change
    assert machine.prices() == []
    assert "prices: add gpu_name H100, on_demand: 4 USD per GPU hour from ever" in machine.said
    assert machine.run() == change
    assert machine.prices() == [4]
    assert machine.run() == machine.run("--check", "--diff") == []
    machine.write(3)
    assert machine.run("--check") == change
    assert machine.prices() == [4]
    assert machine.run() == change
    assert machine.prices() == [3, 4]


def test_a_remark_in_the_file_changes_no_catalogue(machine: Machine) -> None:
    machine.write(4)
    machine.run()
    machine.catalog.write_text("# A remark.\n" + machine.catalog.read_text())
    assert machine.run() == []


def test_what_the_store_does_not_take_stops_the_play_with_its_sentence(machine: Machine) -> None:
    machine.write(4, valid_from="2026-01-01T00:00:00Z")
    machine.run()
    machine.write(3, valid_from="2026-01-01T00:00:00Z")
    for flags in (["--check"], []):
        machine.run(*flags)
        refusal = (machine.folder / "refusal").read_text()
        assert refusal.startswith(
            f"{machine.catalog}: prices: gpu_name H100, on_demand is 3 USD per GPU hour"
        )
        assert "what has held is not rewritten" in refusal
        (machine.folder / "refusal").unlink()
    assert machine.prices() == [4]


def test_a_dry_run_does_not_ask_a_container_that_would_be_replaced(machine: Machine) -> None:
    machine.write(4)
    assert machine.run("--check", askable=False) == []


def test_the_default_catalogue_prices_the_gpus_that_the_generator_speaks_for() -> None:
    gpus = json.loads((ROOT / "apps/producers/gpu_token_producers/gpus.json").read_text())
    catalog = load_catalog(ROOT / "catalog.yml")
    prices = {row.selector.value: float(row.usd_per_gpu_hour) for row in catalog.prices}
    assert {gpu["name"]: gpu["price_per_hour_usd"] for gpu in gpus}.items() <= prices.items()
