"""SSH: the operator's key, each machine's host key, and the options that use them."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path

from lab import shell

USER = "ubuntu"
_making = threading.Lock()
_REFUSALS = (b"Permission denied", b"Host key verification failed")


class Answer(Enum):
    """A machine's answer to the operator's key."""

    WELCOME = "lets in"
    REFUSED = "does not know the key, or has another one itself"
    SILENT = "is not up yet"


class Keys:
    """The keys of one environment, in the folder ``ssh`` of its state.

    This computer makes the host keys and gives them to the machines, so that known_hosts is right
    from the first connection and checking stays on.
    """

    def __init__(self, state: Path) -> None:
        self.folder = state / "ssh"
        self.private = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.config = self.folder / "config"

    def operator_public(self) -> str:
        """The operator's public key, made at the first call."""
        return _public(self.private, "lab operator")

    def host_key(self, machine: str) -> tuple[str, str]:
        """A machine's private and public host key, made at the first call."""
        path = self._host(machine)
        public = _public(path, machine)
        return path.read_text(), public

    def forget(self, machine: str) -> None:
        """Remove a machine's host key; the next machine of that name gets a new one."""
        self._host(machine).unlink(missing_ok=True)
        self._host(machine).with_suffix(".pub").unlink(missing_ok=True)

    def write_known_hosts(self, machines: Mapping[str, IPv4Address]) -> None:
        """Write the known_hosts file: every machine's address and host key."""
        lines = [f"{address} {self.host_key(name)[1]}" for name, address in sorted(machines.items())]
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def write_config(self, machines: Mapping[str, IPv4Address]) -> None:
        """Write the configuration with which `ssh -F` and other tools find the machines by name."""
        lines = [
            line
            for name, address in sorted(machines.items())
            for line in (f"Host {name}", f"  HostName {address}")
        ]
        lines += ["Host *", *(f"  {name} {value}" for name, value in self._options().items())]
        self.config.write_text("".join(f"{line}\n" for line in lines))

    def command(self, address: IPv4Address, *remote: str) -> list[str]:
        """The ssh command for a machine; ``remote`` is run there word for word."""
        options = [word for name, value in self._options().items() for word in ("-o", f"{name}={value}")]
        return ["ssh", *options, str(address), *([shlex.join(remote)] if remote else [])]

    def knock(self, address: IPv4Address) -> Answer:
        """Whether the machine lets the operator in."""
        done = shell.attempt(self.command(address, "true"), timeout_seconds=8)
        if done.returncode == 0:
            return Answer.WELCOME
        refused = any(words in done.stderr for words in _REFUSALS)
        return Answer.REFUSED if refused else Answer.SILENT

    def _options(self) -> dict[str, str]:
        return {
            "User": USER,
            "IdentityFile": str(self.private),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": "5",
            "LogLevel": "ERROR",
        }

    def _host(self, machine: str) -> Path:
        return self.folder / f"{machine}_host_ed25519"


def _public(path: Path, comment: str) -> str:
    with _making:  # machines are made side by side and share the operator's key
        if not path.exists() or not path.with_suffix(".pub").exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.unlink(missing_ok=True)
            shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return path.with_suffix(".pub").read_text().strip()
