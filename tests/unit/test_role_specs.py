"""Every role says what it takes: its argument specs and its defaults name the same variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from .role_files import ROLES

ROLE_FOLDERS = sorted(path for path in ROLES.iterdir() if (path / "tasks").is_dir())

# Longest text in a cell of a README's tables.
CELL_LENGTH = 200


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file; one that is not there is empty."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def options_of(role: Path) -> dict[str, Any]:
    """The options of all entry points of a role."""
    entry_points = read(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for spec in entry_points.values() for name, option in spec["options"].items()}


@pytest.mark.parametrize("role", ROLE_FOLDERS, ids=lambda path: path.name)
def test_specs_and_defaults_name_the_same_variables(role: Path) -> None:
    options = options_of(role)
    required = {name for name, option in options.items() if option.get("required")}
    defaults = set(read(role / "defaults" / "main.yml"))
    assert not required & defaults, "a required variable has no default"
    assert set(options) - required == defaults


@pytest.mark.parametrize("role", ROLE_FOLDERS, ids=lambda path: path.name)
def test_specs_describe_each_variable_and_bear_the_roles_name(role: Path) -> None:
    options = options_of(role)
    assert [name for name in options if not name.startswith(f"{role.name}_")] == []
    assert [name for name, option in options.items() if not option.get("description")] == []


@pytest.mark.parametrize("role", ROLE_FOLDERS, ids=lambda path: path.name)
def test_specs_repeat_the_default_where_it_is_a_plain_value(role: Path) -> None:
    """A default that reads fleet.yml or a fact, or is too long for a table, is described in words instead."""
    options = options_of(role)
    defaults = read(role / "defaults" / "main.yml")
    short = {name: value for name, value in defaults.items() if len(str(value)) <= CELL_LENGTH}
    plain = {name: value for name, value in short.items() if "{{" not in str(value)}
    said = {name: options[name].get("default") for name in plain if name in options}
    assert {name: value for name, value in said.items() if value != plain[name]} == {}


@pytest.mark.parametrize("role", ROLE_FOLDERS, ids=lambda path: path.name)
def test_each_entry_point_is_described(role: Path) -> None:
    """Entry points are what other plays call by tasks_from."""
    described = set(read(role / "meta" / "argument_specs.yml")["argument_specs"])
    present = {path.stem for path in (role / "tasks").glob("*.yml")}
    assert described <= present
    entry_points = {"preflight", "converge", "health", "restart", "presence", "remove", "verify"}
    assert present & entry_points <= described


@pytest.mark.parametrize("role", ROLE_FOLDERS, ids=lambda path: path.name)
def test_the_readme_is_text_that_people_read(role: Path) -> None:
    """Ansible's markup, C(…) and the like, is rendered, and no cell of a table is longer than a few lines."""
    text = (role / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\b[A-Z]\([^)]*\)", text) == []
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if len(cell) > CELL_LENGTH] == []


@pytest.mark.parametrize("role", ROLE_FOLDERS, ids=lambda path: path.name)
def test_defaults_say_where_they_are_described(role: Path) -> None:
    text = (role / "defaults" / "main.yml").read_text(encoding="utf-8")
    assert "described in meta/argument_specs.yml" in text.splitlines()[1]
