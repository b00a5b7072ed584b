"""How both apps log in to Kafka, and the processor to MongoDB: by name and password, over TLS.

And the tokens by which both know their own clients.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# RFC 6750's alphabet, so that it fits the header; shorter ones could be guessed.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{20,512}=*")


class SettingsError(ValueError):
    """One sentence: the variable, its value, the remedy. Never a secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """The user, the password, and the authority that signed the server's certificate."""

    username: str
    password: str = field(repr=False)
    ca_file: str


def read_secret(variable: str, path: str, holds: str) -> str:
    """The only line of the file that a variable names."""
    remedy = f"give the path of a file that holds {holds}"
    try:
        secret = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
        raise SettingsError(f"{variable} is {path!r}, which cannot be read ({reason}): {remedy}.") from None
    if not secret:
        raise SettingsError(f"{variable} is {path!r}, which is empty: {remedy}.")
    return secret


def read_token(variable: str, path: str, holds: str) -> str:
    """The bearer token in the file that a variable names; clients must show it to us."""
    token = read_secret(variable, path, holds)
    if not _TOKEN.fullmatch(token):
        raise SettingsError(
            f"{variable} is {path!r}, which holds no usable token: "
            "give it one line of 20 to 512 letters and digits."
        )
    return token


def read_login(
    service: str, username: str | None, password_file: str | None, ca_file: str | None
) -> Login | None:
    """Read `<service>_USERNAME`, `_PASSWORD_FILE` and `_CA_FILE`; None if none of them is set."""
    given = {
        f"{service}_USERNAME": username,
        f"{service}_PASSWORD_FILE": password_file,
        f"{service}_CA_FILE": ca_file,
    }
    if not any(given.values()):
        return None
    if not (username and password_file and ca_file):
        lacking = " and ".join(variable for variable, value in given.items() if not value)
        present = ", ".join(f"{variable} is {value!r}" for variable, value in given.items() if value)
        raise SettingsError(
            f"{present}, but {lacking} is not set: set {', '.join(given)} together, or none of them "
            "to connect in plain text without a login."
        )
    password = read_secret(f"{service}_PASSWORD_FILE", password_file, "the password")
    _check_authority(f"{service}_CA_FILE", ca_file)
    return Login(username, password, ca_file)


def kafka_security(username: str | None, password_file: str | None, ca_file: str | None) -> dict[str, str]:
    """librdkafka's settings, without the address; empty for a Kafka without TLS and logins."""
    login = read_login("KAFKA", username, password_file, ca_file)
    if login is None:
        return {}
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": login.username,
        "sasl.password": login.password,
        "ssl.ca.location": login.ca_file,
    }


def kafka_security_in(environment: Mapping[str, str]) -> dict[str, str]:
    """`kafka_security` by the environment variables."""
    return kafka_security(
        *(environment.get(f"KAFKA_{name}") for name in ("USERNAME", "PASSWORD_FILE", "CA_FILE"))
    )


def explain_kafka(error_name: str, text: str) -> str:
    """A client's error. If login or TLS failed, the sentence also names the remedy."""
    if error_name == "_AUTHENTICATION":
        return f"Kafka refuses the login, check KAFKA_USERNAME and KAFKA_PASSWORD_FILE ({text})"
    # If the certificate is refused while librdkafka reads, it reports a transport error.
    if error_name == "_SSL" or "certificate verify failed" in text:
        return f"Kafka's certificate is not accepted, check KAFKA_CA_FILE and KAFKA_BOOTSTRAP ({text})"
    return text


def _check_authority(variable: str, path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        # For a file without a certificate, OpenSSL's message names neither the file nor the problem.
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"{variable} is {path!r}, which cannot be used ({reason}): give the path of a PEM file "
            "with the certificate of the authority that signed the server's."
        ) from None
