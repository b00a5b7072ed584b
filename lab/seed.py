"""What a machine is given before its first start: the operator's key and its own host key."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

_UBUNTU = 1000


@dataclass(frozen=True)
class Seed:
    """The keys of one machine."""

    operator_public: str
    host_private: str
    host_public: str

    def archive(self) -> bytes:
        """The files as a tar archive for the machine's root."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            _folder(archive, "home/ubuntu/.ssh", 0o700, _UBUNTU)
            _file(archive, "home/ubuntu/.ssh/authorized_keys", self.operator_public, 0o600, _UBUNTU)
            _file(archive, "etc/ssh/ssh_host_ed25519_key", self.host_private, 0o600)
            _file(archive, "etc/ssh/ssh_host_ed25519_key.pub", self.host_public, 0o644)
        return buffer.getvalue()


def _folder(archive: tarfile.TarFile, path: str, mode: int, owner: int) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
    archive.addfile(info)


def _file(archive: tarfile.TarFile, path: str, text: str, mode: int, owner: int = 0) -> None:
    data = text.rstrip("\n").encode() + b"\n"
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.uid, info.gid = len(data), mode, owner, owner
    archive.addfile(info, io.BytesIO(data))
