"""Logins: what is refused and in which words, and what the client is told."""

import ssl
from pathlib import Path

import pytest
from gpu_token_contracts.login import (
    SettingsError,
    explain_kafka,
    kafka_security,
    kafka_security_in,
    read_login,
)

PASSWORD = "s3cret-s3cret-s3cret"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A password file and an authority's file, under the names of the arguments."""
    password, authority = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text(f"{PASSWORD}\n")
    # Any authority that this computer knows.
    any_authority = ssl.create_default_context().get_ca_certs(binary_form=True)[0]
    authority.write_text(ssl.DER_cert_to_PEM_cert(any_authority))
    return {"username": "processor", "password_file": str(password), "ca_file": str(authority)}


def test_nothing_given_is_plain_text() -> None:
    assert kafka_security(None, None, None) == kafka_security("", "", "") == kafka_security_in({}) == {}


def test_a_login_is_tls_with_scram(files: dict[str, str]) -> None:
    expected = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "processor",
        "sasl.password": PASSWORD,
        "ssl.ca.location": files["ca_file"],
    }
    environment = {f"KAFKA_{name.upper()}": value for name, value in files.items()}
    assert kafka_security(**files) == kafka_security_in(environment) == expected


def test_a_login_does_not_show_its_password(files: dict[str, str]) -> None:
    assert PASSWORD not in repr(read_login("MONGO", **files))


@pytest.mark.parametrize("lacking", ["username", "password_file", "ca_file"])
def test_half_a_login_is_refused(files: dict[str, str], lacking: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_login("MONGO", **files | {lacking: ""})
    sentence = str(caught.value)
    assert f", but MONGO_{lacking.upper()} is not set: set MONGO_USERNAME, MONGO_PASSWORD_FILE" in sentence
    assert all(f"{value!r}" in sentence for name, value in files.items() if name != lacking)
    assert PASSWORD not in sentence


@pytest.mark.parametrize(
    ("argument", "content", "said"),
    [
        ("password_file", None, "cannot be read (No such file or directory): give the path"),
        ("password_file", b" \n", "is empty: give the path of a file that holds the password."),
        ("password_file", b"\xff\xfe", "cannot be read (it is no ASCII text): give the path"),
        ("ca_file", None, "cannot be used (No such file or directory): give the path of a PEM file"),
        ("ca_file", b"", "cannot be used (it holds no certificate): give the path of a PEM file"),
        ("ca_file", b"-----BEGIN", "cannot be used (it holds no certificate): give the path"),
    ],
)
def test_a_file_of_no_use_is_one_sentence(
    files: dict[str, str], argument: str, content: bytes | None, said: str
) -> None:
    path = Path(files[argument])
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        kafka_security(**files)
    sentence = str(caught.value)
    assert sentence.startswith(f"KAFKA_{argument.upper()} is '{path}', which {said}")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_errors_of_login_and_tls_name_their_remedy() -> None:
    assert "KAFKA_PASSWORD_FILE" in explain_kafka("_AUTHENTICATION", "invalid credentials")
    assert "KAFKA_CA_FILE" in explain_kafka("_SSL", "certificate verify failed")
    assert "KAFKA_CA_FILE" in explain_kafka("_TRANSPORT", "SSL routines::certificate verify failed")
    assert explain_kafka("_TRANSPORT", "Connection refused") == "Connection refused"
