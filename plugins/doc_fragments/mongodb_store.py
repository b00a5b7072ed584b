"""Documentation of the option store, which every mongodb_* module takes, and of database, which most take."""


class ModuleDocFragment:
    """The same options as in module_utils/mongodb_connection.py: STORE_ARGUMENT, and CONNECTION_ARGUMENTS."""

    DATABASE = """
options:
  database:
    description: The database.
    type: str
    required: true
"""

    DOCUMENTATION = """
options:
  store:
    description: The store's address and login. Without a username no login, without a ca_file no TLS.
    type: dict
    default: {}
    suboptions:
      url:
        description: The store's address.
        type: str
        default: mongodb://127.0.0.1:27017
      username:
        description: A user of the database V(admin).
        type: str
      password_file:
        description: The file on the machine with the user's password.
        type: path
      ca_file:
        description: The certificate authority that must have signed the store's certificate.
        type: path
"""
