#!/usr/bin/python
"""Keep MongoDB's users equal to a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.mongodb_connection import (
    STORE_ARGUMENT,
    LoginError,
    client_of,
    one_sentence,
)

DOCUMENTATION = """
module: mongodb_users
short_description: Keep MongoDB's users equal to a list
description:
  - Creates missing users, and sets the password or the roles of those that differ.
  - Logs in with a password to find out whether it is the wanted one.
  - Users that are not listed stay as they are.
  - Logs in with the password in the store's C(password_file). Where that is refused, with the wanted one
    of the listed user of that name, so a run that was cut off between the store and the file goes on.
  - Unlike community.mongodb.mongodb_user it changes nothing, and says so, when the password is right already.
extends_documentation_fragment: [gpu_token.pipeline.mongodb_store]
options:
  users:
    description: The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      database:
        description: The database in which the user is created, logs in and has the roles.
        type: str
        required: true
      password:
        description: The password.
        type: str
        required: true
      roles:
        description: Roles in that database.
        type: list
        elements: str
        required: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the roles of each user that changes, and for a password only that it changes.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: One user for one database
  gpu_token.pipeline.mongodb_users:
    store: {username: admin, password_file: /opt/gpu-token/mongo/secrets/admin-password}
    users:
      - {name: processor, database: gpu_token, roles: [readWrite], password: "{{ mongo_processor_password }}"}
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
"""

WRONG_PASSWORD = 18

Roles = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Action:
    """Create a user, or change one; `roles` are those that it had, None if it was not there."""

    user: dict[str, Any]
    roles: Roles | None
    another_password: bool

    @property
    def sentence(self) -> str:
        """Say what is done."""
        if self.roles is None:
            return f"create user {label(self.user)}"
        what = ["password"] * self.another_password + ["roles"] * (self.roles != wanted_roles(self.user))
        return f"set {' and '.join(what)} of user {label(self.user)}"


def label(user: dict[str, Any]) -> str:
    """Name a user for people."""
    return f"{user['name']} of {user['database']}"


def wanted_roles(user: dict[str, Any]) -> Roles:
    """The roles as MongoDB lists them: each with its database."""
    return frozenset((role, user["database"]) for role in user["roles"])


def plan(user: dict[str, Any], roles: Roles | None, password_is_right: bool) -> list[Action]:
    """List the changes from a user's present roles (None: there is no such user) to what is wanted."""
    if roles == wanted_roles(user) and password_is_right:
        return []
    return [Action(user, roles, not password_is_right)]


def diff(actions: list[Action]) -> dict[str, Any]:
    """Show the roles before and after, and for a password only that it changes."""

    def shown(roles: Roles, another_password: bool) -> dict[str, Any]:
        return {
            "roles": [f"{role} on {database}" for role, database in sorted(roles)],
            "password": "another" if another_password else "the wanted one",
        }

    before = {
        label(action.user): shown(action.roles, action.another_password)
        for action in actions
        if action.roles is not None
    }
    after = {label(action.user): shown(wanted_roles(action.user), False) for action in actions}
    return {"before": before, "after": after}


def takes(client: Any) -> bool:
    """Whether the store accepts the client's login."""
    from pymongo.errors import OperationFailure

    try:
        client.admin.command("ping")
    except OperationFailure as error:
        if error.code == WRONG_PASSWORD:
            return False
        raise
    return True


def login(user: dict[str, Any]) -> dict[str, str]:
    """What a user logs in with."""
    return {"username": user["name"], "password": user["password"], "authSource": user["database"]}


def administrator(store: dict[str, Any], users: list[dict[str, Any]]) -> Any:
    """Make a client with the store's user. Raises LoginError if the store accepts none of its passwords."""
    same = [user for user in users if (user["name"], user["database"]) == (store["username"], "admin")]
    for own_login in [None, *map(login, same)]:
        client = client_of(store, own_login)
        if takes(client):
            return client
        client.close()
    raise LoginError(
        f"MongoDB takes neither the password of {store['username']} that {store['password_file']} holds "
        "nor the wanted one: put the one that it takes into the file, or remove the file, and run the role "
        "mongo again."
    )


def present_roles(client: Any, user: dict[str, Any]) -> Roles | None:
    """Read the user's roles; None if there is no such user."""
    found = client[user["database"]].command("usersInfo", user["name"])["users"]
    return frozenset((role["role"], role["db"]) for role in found[0]["roles"]) if found else None


def planned(client: Any, store: dict[str, Any], user: dict[str, Any]) -> list[Action]:
    """Compare a user with the store."""
    roles = present_roles(client, user)
    if roles is None:
        return plan(user, None, False)
    with client_of(store, login(user)) as own:
        return plan(user, roles, takes(own))


def apply(client: Any, action: Action) -> None:
    """Do what was planned."""
    user = action.user
    command = "createUser" if action.roles is None else "updateUser"
    password = {"pwd": user["password"]} if action.another_password else {}
    client[user["database"]].command(command, user["name"], roles=user["roles"], **password)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STORE_ARGUMENT,
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "database": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "roles": {"type": "list", "elements": "str", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    users = module.params["users"]
    with one_sentence(module) as store, administrator(store, users) as client:
        actions = [action for user in users for action in planned(client, store, user)]
        for action in [] if module.check_mode else actions:
            apply(client, action)
    module.exit_json(
        changed=bool(actions),
        actions=[action.sentence for action in actions],
        diff=diff(actions) if actions else {},
    )


if __name__ == "__main__":
    main()
