"""Kafka and the store as the roles run them: TLS with an authority of our own, users, and their rights."""

import ipaddress
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pymongo import MongoClient

from bench.broker import Broker
from bench.processes import free_port

_START_MS = 30_000
DATABASE = "gpu_token"


class Authority:
    """Signs certificates, and is trusted by who has its file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._sign(self._name, self._key, authority=True))

    def server(self) -> Path:
        """A file with key and certificate of a server on this computer."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self._folder / f"{self.file.stem}-server.pem"
        path.write_bytes(private + self._sign(subject, key, authority=False))
        return path

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
        now = datetime.now(UTC)
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )


class SecuredBroker(Broker):
    """A broker with a second listener, of TLS and SCRAM; the first is left to whoever sets it up."""

    def __init__(self, folder: Path, server_pem: Path, authority: Path) -> None:
        super().__init__(folder)
        self.address = f"127.0.0.1:{free_port()}"
        login_module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        properties = self._properties.read_text().splitlines()
        listeners = next(line for line in properties if line.startswith("listeners="))
        properties += [
            f"{listeners},EXTERNAL://{self.address}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,EXTERNAL:SASL_SSL",
            "listener.name.external.sasl.enabled.mechanisms=SCRAM-SHA-512",
            f"listener.name.external.scram-sha-512.sasl.jaas.config={login_module} required;",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={server_pem}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={authority}",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
        ]
        self._properties.write_text("\n".join(properties))

    def set_password(self, user: str, password: str) -> None:
        """Make the user, or give it another password."""
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192)
        change = UserScramCredentialUpsertion(user, scram, password.encode())
        for future in self._admin.alter_user_scram_credentials([change]).values():
            future.result()

    def allow(
        self,
        user: str,
        operation: AclOperation,
        names: Sequence[str],
        kind: ResourceType = ResourceType.TOPIC,
        pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    ) -> None:
        """Give the user a right."""
        rights = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for name in names
        ]
        for future in self._admin.create_acls(rights).values():
            future.result()


class SecuredStore:
    """The store with TLS and users."""

    def __init__(self, folder: Path, server_pem: Path, authority: Path) -> None:
        self._folder = folder
        self._authority = str(authority)
        self._tls = [
            f"--tls-cert-file={server_pem}",
            f"--tls-key-file={server_pem}",
            f"--tls-ca-file={authority}",
        ]
        self._port = free_port()
        self.url = f"mongodb://127.0.0.1:{self._port}"
        self._admin: dict[str, str] = {}

    @contextmanager
    def running(self, user: str, password: str, admin_password: str) -> Iterator[None]:
        """With a user of our database, as long as the block runs."""
        with (
            self._server([]),
            MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=_START_MS) as client,
        ):
            client["admin"].command("createUser", "admin", pwd=admin_password, roles=["root"])
            roles = [{"role": "readWrite", "db": DATABASE}]
            client[DATABASE].command("createUser", user, pwd=password, roles=roles)
        self._admin = {"username": "admin", "password": admin_password, "authSource": "admin"}
        with self._server(["--auth", *self._tls]), self.client() as client:
            client["admin"].command("ping")
            yield

    def client(self) -> MongoClient[dict[str, Any]]:
        """As its administrator."""
        return MongoClient(
            self.url, tls=True, tlsCAFile=self._authority, serverSelectionTimeoutMS=_START_MS, **self._admin
        )

    def set_password(self, user: str, password: str) -> None:
        """Give the user another password."""
        with self.client() as client:
            client[DATABASE].command("updateUser", user, pwd=password)

    @contextmanager
    def _server(self, options: Sequence[str]) -> Iterator[None]:
        server = subprocess.Popen(
            [
                Path(sys.executable).with_name("secantusd-py"),
                f"--port={self._port}",
                f"--storage-path={self._folder}",
                "--cache-size=64M",
                "--standalone",
                "--log-level=ERROR",
                *options,
            ]
        )
        try:
            yield
        finally:
            server.terminate()
            server.wait(20)
