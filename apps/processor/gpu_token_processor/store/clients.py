"""MongoDB clients: one for the data path, one for the API, so that neither waits for the other."""

from typing import Any

from gpu_token_contracts.login import read_login
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from gpu_token_processor.documents import Document
from gpu_token_processor.settings import MongoSettings, SettingsError

# A write that takes longer is tried again; its documents have the same `_id`s.
_WRITE_TIMEOUT_MS = 10_000
_READ_TIMEOUT_MS = 30_000
_CONNECT_TIMEOUT_MS = 3_000


def write_client(settings: MongoSettings) -> MongoClient[Document]:
    """For the data path. Connects at its first use."""
    return _client(settings, "gpu-token-processor", _WRITE_TIMEOUT_MS)


def read_client(settings: MongoSettings) -> MongoClient[Document]:
    """For the API. Connects at its first use."""
    return _client(settings, "gpu-token-api", _READ_TIMEOUT_MS)


def catalog_client(settings: MongoSettings) -> MongoClient[Document]:
    """For the command that keeps the catalogue. Connects at its first use."""
    return _client(settings, "gpu-token-catalog", _WRITE_TIMEOUT_MS)


def rollup_client(settings: MongoSettings) -> MongoClient[Document]:
    """For those who count hours. Connects at its first use."""
    return _client(settings, "gpu-token-rollups", _READ_TIMEOUT_MS)


def budget_client(settings: MongoSettings) -> MongoClient[Document]:
    """For the thread that looks at budgets. Connects at its first use."""
    return _client(settings, "gpu-token-budgets", _READ_TIMEOUT_MS)


def closing_client(settings: MongoSettings) -> MongoClient[Document]:
    """For the command that closes months. Connects at its first use."""
    return _client(settings, "gpu-token-closings", _READ_TIMEOUT_MS)


def _client(settings: MongoSettings, name: str, socket_timeout_ms: int) -> MongoClient[Document]:
    security = _security(settings)
    try:
        return MongoClient(
            settings.mongo_url,
            **security,
            appname=name,
            tz_aware=True,
            connectTimeoutMS=_CONNECT_TIMEOUT_MS,
            serverSelectionTimeoutMS=_CONNECT_TIMEOUT_MS,
            socketTimeoutMS=socket_timeout_ms,
        )
    except (PyMongoError, ValueError) as error:
        # The driver's own message may repeat the password.
        raise SettingsError(
            f"MONGO_URL is not usable ({type(error).__name__}): give a mongodb:// address."
        ) from None


def _security(settings: MongoSettings) -> dict[str, Any]:
    """Options for the login (a user of this database) and TLS; empty for a store without them."""
    login = read_login("MONGO", settings.mongo_username, settings.mongo_password_file, settings.mongo_ca_file)
    if login is None:
        return {}
    return {
        "username": login.username,
        "password": login.password,
        "authSource": settings.mongo_database,
        "authMechanism": "SCRAM-SHA-256",
        "tls": True,
        "tlsCAFile": login.ca_file,
    }
