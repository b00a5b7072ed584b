"""Load a role's modules, variables and templates as Ansible does, without a machine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"

# Templates find lookups from here on.
init_plugin_loader()


def load_file(path: Path, name: str) -> ModuleType:
    """Import a file under a name of our choice."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_module(role: str, name: str) -> ModuleType:
    """Import a module of a role's library, with the module_utils of its role in the place where it looks."""
    for path in (ROLES / role / "module_utils").glob("*.py"):
        load_file(path, f"ansible.module_utils.{path.stem}")
    return load_file(ROLES / role / "library" / f"{name}.py", name)


def fleet_variables(folder: Path = ROOT) -> dict[str, Any]:
    """What inventories/common.yml gives every machine of the fleet.yml in this folder."""
    loader = DataLoader()
    common = loader.load_from_file(str(ROOT / "inventories" / "common.yml"), trusted_as_template=True)
    templar = Templar(loader, variables=common | {"inventory_dir": str(folder / "inventories" / "lab")})
    return {name: templar.template(value) for name, value in common.items() if name.startswith("fleet")}


def role_variables(role: str) -> dict[str, Any]:
    """Read a role's defaults and variables, which are templates still."""
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for folder in ("defaults", "vars"):
        path = ROLES / role / folder / "main.yml"
        variables |= loader.load_from_file(str(path), trusted_as_template=True) if path.exists() else {}
    return variables


def render(role: str, template: str, variables: dict[str, Any]) -> str:
    """Render a role's template with its defaults and variables, overridden by the given ones."""
    text = (ROLES / role / "templates" / template).read_text(encoding="utf-8")
    context = {"ansible_managed": "managed", **role_variables(role), **variables}
    return str(Templar(DataLoader(), variables=context).template(trust_as_template(text)))
