"""The broker with TLS, logins and rights on a listener of its own."""

from collections.abc import Sequence
from pathlib import Path

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

from lab.ports import free_port
from testing.authority import Authority
from testing.broker import Broker


class SecuredBroker(Broker):
    """A broker with a second listener, for TLS and SCRAM. The first serves whoever sets it up."""

    def __init__(self, folder: Path, authority: Authority, *, at_full_speed: bool = False) -> None:
        super().__init__(folder, at_full_speed=at_full_speed)
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
            f"ssl.keystore.location={authority.server_pem}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={authority.file}",
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
