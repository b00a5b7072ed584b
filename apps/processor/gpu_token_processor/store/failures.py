"""Tells what a MongoDB error means: try again later, or never with these documents."""

from bson.errors import InvalidDocument
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

from gpu_token_processor.store.contract import DocumentsRefused, StoreUnavailable

DUPLICATE_KEY = 11000

_BRIEF_LENGTH = 200

_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18

# Codes that mean a bad document. All others count as temporary: retrying a bad document only causes a delay,
# but dead-lettering a good one loses it.
_BAD_DOCUMENT = {
    2: "BadValue",
    9: "FailedToParse",
    14: "TypeMismatch",
    15: "Overflow",
    22: "InvalidBSON",
    52: "DollarPrefixedFieldName",
    53: "InvalidIdField",
    56: "EmptyFieldName",
    57: "DottedFieldName",
    121: "DocumentValidationFailure",
    10334: "BSONObjectTooLarge",
    17280: "KeyTooLong",
    17419: "BSONObjectTooLarge",
    17420: "BSONObjectTooLarge",
}


def blames_document(code: int | None) -> bool:
    """Whether a server's error code says that the document itself can never be stored."""
    return code in _BAD_DOCUMENT


def translate(error: Exception) -> StoreUnavailable | DocumentsRefused:
    """What a failed write of several documents means."""
    message = brief(error)
    if isinstance(error, (InvalidDocument, OverflowError, UnicodeError)):
        return DocumentsRefused(message)
    if isinstance(error, OperationFailure):
        if blames_document(error.code):
            return DocumentsRefused(message)
        return StoreUnavailable("refused_command", message)
    if isinstance(error, ConnectionFailure):
        return StoreUnavailable("connection", message)
    if isinstance(error, ConfigurationError):
        return StoreUnavailable("configuration", message)
    return StoreUnavailable("other", message)


def brief(error: Exception) -> str:
    """The driver's message, without its timeouts and its description of the deployment."""
    text = str(error).split(" (configured timeouts", 1)[0].split(", Timeout:", 1)[0]
    return f"{type(error).__name__}: {_remedy(error, text)}{text[:_BRIEF_LENGTH]}"


def _remedy(error: Exception, text: str) -> str:
    """If login, rights or TLS failed: what to check, followed by the driver's message."""
    if isinstance(error, OperationFailure) and error.code == _AUTHENTICATION_FAILED:
        return "MongoDB refuses the login, check MONGO_USERNAME and MONGO_PASSWORD_FILE: "
    if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED:
        return "MongoDB does not let this user do that, check MONGO_USERNAME: "
    if isinstance(error, ConnectionFailure) and "SSL" in text:
        # A store that stands still takes connections, and says nothing.
        if "timed out" in text and "certificate" not in text:
            return "MongoDB does not answer: "
        return "TLS with MongoDB fails, check MONGO_CA_FILE and MONGO_URL: "
    return ""


# What a write can raise: the driver's errors and those of encoding a document.
WRITE_ERRORS = (PyMongoError, InvalidDocument, OverflowError, UnicodeError)
