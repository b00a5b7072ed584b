"""MongoDB clients: one for the data path, one for the API, so that neither waits for the other."""

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from gpu_token_processor.documents import Document
from gpu_token_processor.settings import Settings, SettingsError

# A write that takes longer is tried again; its documents have the same `_id`s.
_WRITE_TIMEOUT_MS = 10_000
_READ_TIMEOUT_MS = 30_000
_CONNECT_TIMEOUT_MS = 3_000


def write_client(settings: Settings) -> MongoClient[Document]:
    """For the data path. Connects at its first use."""
    return _client(settings, "gpu-token-processor", _WRITE_TIMEOUT_MS)


def read_client(settings: Settings) -> MongoClient[Document]:
    """For the API. Connects at its first use."""
    return _client(settings, "gpu-token-api", _READ_TIMEOUT_MS)


def _client(settings: Settings, name: str, socket_timeout_ms: int) -> MongoClient[Document]:
    try:
        return MongoClient(
            settings.mongo_url,
            appname=name,
            tz_aware=True,
            connectTimeoutMS=_CONNECT_TIMEOUT_MS,
            serverSelectionTimeoutMS=_CONNECT_TIMEOUT_MS,
            socketTimeoutMS=socket_timeout_ms,
        )
    except (PyMongoError, ValueError) as error:
        # The driver's own message may repeat the password.
        raise SettingsError(
            f"MONGO_URL is not usable ({type(error).__name__}): give a mongodb:// address, "
            "its user and password percent-encoded."
        ) from None
