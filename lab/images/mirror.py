"""Where Debian's packages come from: the mirror that this host's own apt uses."""

import re
from pathlib import Path

DEBIAN = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"


def debian_mirrors(apt: Path = Path("/etc/apt")) -> tuple[str, str]:
    """(archive, security archive): the host's where it names them, otherwise Debian's own.

    A host that is not a Debian has neither, and needs no change for that.
    """
    found = {"debian": DEBIAN, "debian-security": SECURITY}
    for source in sorted([apt / "sources.list", *apt.glob("sources.list.d/*")], reverse=True):
        if not source.is_file() or source.suffix not in {".list", ".sources"}:
            continue
        for line in source.read_text(errors="replace").splitlines():
            for uri in re.findall(r"https?://\S+", line.partition("#")[0]):
                archive = uri.rstrip("/").rpartition("/")[2]
                if archive in found:
                    found[archive] = uri.rstrip("/")
    return found["debian"], found["debian-security"]
