"""Debian's packages come from the mirror that this computer uses itself."""

from pathlib import Path

import pytest

from lab.images.mirror import DEBIAN, SECURITY, debian_mirrors


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("sources.list", "deb http://near/debian bookworm main\n", ("http://near/debian", SECURITY)),
        (
            "sources.list.d/debian.sources",
            "URIs: http://near/debian/\n\nURIs: http://near/debian-security\n",
            ("http://near/debian", "http://near/debian-security"),
        ),
        ("sources.list", "deb http://archive.ubuntu.com/ubuntu noble main\n", (DEBIAN, SECURITY)),
        ("sources.list", "# deb http://near/debian bookworm main\n", (DEBIAN, SECURITY)),
    ],
)
def test_mirror_is_the_hosts(tmp_path: Path, name: str, content: str, expected: tuple[str, str]) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(content)
    assert debian_mirrors(tmp_path) == expected
