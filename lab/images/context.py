"""Build contexts: the files of a folder, the same bytes on every checkout, with a hash of their content."""

import hashlib
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

PREPARE = "prepare.sh"


@dataclass(frozen=True)
class Entry:
    """One file of a context, under its name inside it."""

    name: str
    path: Path

    @property
    def mode(self) -> int:
        """What git keeps of a mode: whether the owner may execute."""
        return 0o755 if self.path.stat().st_mode & 0o100 else 0o644


def entries(folder: Path) -> list[Entry]:
    """All files below ``folder``, sorted, without Python's byte code."""
    return [
        Entry(path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def digest(folder: Path, settings: Mapping[str, str], parent: str) -> str:
    """Hash of everything a build depends on: its files, its settings and its parent's hash."""
    total = hashlib.sha256(parent.encode())
    for name, value in sorted(settings.items()):
        total.update(f"{name}={value}\0".encode())
    for entry in entries(folder):
        content = hashlib.sha256(entry.path.read_bytes()).hexdigest()
        total.update(f"{entry.name}\0{entry.mode:o}\0{content}\0".encode())
    return total.hexdigest()


def write_tar(target: Path, files: Iterable[Entry]) -> None:
    """Write the context as the engine reads it; root owns everything, whatever the checkout's umask was."""
    with tarfile.open(target, "w") as archive:
        for folder in sorted(
            {parent.as_posix() for entry in files for parent in Path(entry.name).parents} - {"."}
        ):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for entry in files:
            member = tarfile.TarInfo(entry.name)
            member.size, member.mode = entry.path.stat().st_size, entry.mode
            with entry.path.open("rb") as content:
                archive.addfile(member, content if member.size else BytesIO())
