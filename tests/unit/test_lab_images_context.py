"""Build contexts are the same bytes on every checkout."""

import tarfile
from pathlib import Path

from lab.images import context


def test_digest_follows_content_mode_and_parent(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    seen = {context.digest(tmp_path, {}, "")}
    seen.add(context.digest(tmp_path, {"A": "1"}, ""))
    seen.add(context.digest(tmp_path, {}, "parent"))
    file.chmod(0o755)
    seen.add(context.digest(tmp_path, {}, ""))
    file.write_text("FROM other\n")
    seen.add(context.digest(tmp_path, {}, ""))
    assert len(seen) == 5


def test_context_is_the_same_under_every_umask(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir(mode=0o700)
    (tmp_path / "etc" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "etc" / "run").chmod(0o700)
    (tmp_path / "empty").touch(mode=0o600)
    target = tmp_path.parent / "context.tar"
    context.write_tar(target, context.entries(tmp_path))
    with tarfile.open(target) as archive:
        members = {member.name: (member.mode, member.uid, member.mtime) for member in archive}
    assert members == {"empty": (0o644, 0, 0), "etc": (0o755, 0, 0), "etc/run": (0o755, 0, 0)}
