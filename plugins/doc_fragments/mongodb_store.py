"""Documentation of the option store, which every mongodb_* module takes."""


class ModuleDocFragment:
    """The same option as STORE_ARGUMENT in module_utils/mongodb_connection.py."""

    DOCUMENTATION = """
options:
  store:
    description: Where the store is, and who asks. Without a username no login, without a ca_file no TLS.
    type: dict
    default: {}
    suboptions:
      url:
        description: Its address.
        type: str
        default: mongodb://127.0.0.1:27017
      username:
        description: A user of the database V(admin).
        type: str
      password_file:
        description: The file on the machine that holds the user's password.
        type: path
      ca_file:
        description: The certificate authority that the store's certificate must come from.
        type: path
"""
