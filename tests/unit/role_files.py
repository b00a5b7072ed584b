"""Load a role's variables and templates as Ansible does, without a machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"


@cache
def common_variables() -> dict[str, Any]:
    """What inventories/common.yml says."""
    path = str(ROOT / "inventories" / "common.yml")
    found: dict[str, Any] = DataLoader().load_from_file(path, trusted_as_template=True)
    return found


@cache
def fleet_of(inventory: str, _text: str) -> Any:
    """The variable `fleet` of this inventory, while fleet.yml has this text."""
    return Templar(DataLoader(), variables={"inventory_dir": inventory}).template(common_variables()["fleet"])


def fleet_variables(folder: Path = ROOT) -> dict[str, Any]:
    """What inventories/common.yml gives every machine of the fleet.yml in this folder; templates still.

    Not so `fleet`: Ansible would read the file again each time that another variable asks for a part of it.
    """
    inventory = str(folder / "inventories" / "lab")
    fleet = fleet_of(inventory, (folder / "fleet.yml").read_text())
    return {**common_variables(), "inventory_dir": inventory, "fleet": fleet}


@cache
def _role_variables(role: str) -> dict[str, Any]:
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for file in ("defaults/main.yml", "vars/main.yml", "vars/main/*.yml"):
        for path in sorted((ROLES / role).glob(file)):
            variables |= loader.load_from_file(str(path), trusted_as_template=True)
    return variables


def role_variables(role: str) -> dict[str, Any]:
    """A role's defaults and variables, which are templates still."""
    return dict(_role_variables(role))


def render_service(template: str, name: str, variables: dict[str, Any], **options: str) -> str:
    """Render a template of the role service as the role called `name` calls it; options are expressions."""
    context = {**role_variables(name), **variables, "service_name": name}
    given: dict[str, Any] = {
        option: trust_as_template("{{ " + value + " }}") for option, value in options.items()
    }
    given["ansible_search_path"] = [str(ROLES / role) for role in ("service", name)]
    return render("service", template, {**context, **given})


def render(role: str, template: str, variables: dict[str, Any]) -> str:
    """Render a role's template with its defaults and variables, overridden by the given ones."""
    text = (ROLES / role / "templates" / template).read_text(encoding="utf-8")
    own = {"ansible_managed": "managed", "ansible_search_path": [str(ROLES / role)]}
    context = {**own, **role_variables(role), **variables}
    return str(Templar(DataLoader(), variables=context).template(trust_as_template(text)))
