"""Build contexts: named by their content alone, whole or absent, with everything locked by hash."""

import hashlib
import importlib.util
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .role_files import ROOT, role_variables


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "build_context", ROOT / "roles" / "app_image" / "files" / "build_context.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_context = load()


def cache() -> Path:
    """The role's cache, whose downloads the tests use too."""
    variables = role_variables("app_image")
    return Path(Templar(DataLoader()).template(variables["_app_image_cache"]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout that holds what the contexts are made of."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("tests", "__pycache__")
    shutil.copytree(ROOT / "apps", checkout / "apps", ignore=ignored)
    for name in ("pyproject.toml", "uv.lock", "README.md"):
        shutil.copy(ROOT / name, checkout)
    return checkout


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert build_context.main(list(arguments)) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def tag(capsys: pytest.CaptureFixture[str], source: Path, *arguments: str, app: str = "producers") -> str:
    result = call(capsys, app, "--source", str(source), "--cache", str(source / "out"), "--check", *arguments)
    assert result["built"] is False
    assert not (source / "out").exists()
    text: str = result["tag"]
    assert len(text) == 12
    return text


@pytest.mark.parametrize("app", ["processor", "producers"])
def test_the_tag_does_not_depend_on_times_caches_and_place(
    app: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tag(capsys, source, app=app)
    package = source / "apps" / app / f"gpu_token_{app}"
    os.utime(package / "__init__.py", (1, 1))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.cpython-313.pyc").write_bytes(b"x")
    (source / "apps" / app / "tests").mkdir()
    (source / "apps" / app / "tests" / "test_x.py").write_text("")
    assert tag(capsys, source, app=app) == before
    moved = tmp_path / "elsewhere"
    source.rename(moved)
    assert tag(capsys, moved, app=app) == before


@pytest.mark.parametrize(
    "changed",
    [
        "apps/producers/gpu_token_producers/gpus.json",
        "apps/producers/gpu_token_producers/new.py",
        "apps/producers/pyproject.toml",
        "apps/Dockerfile",
        "apps/contracts/gpu_token_contracts/bounds.py",
        "apps/contracts/pyproject.toml",
    ],
)
def test_the_tag_follows_each_source(changed: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tag(capsys, source)
    with (source / changed).open("a") as file:
        file.write("\n")
    assert tag(capsys, source) != before


def test_the_tag_follows_base_image_python_and_app(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = {
        tag(capsys, source),
        tag(capsys, source, "--base-image", "python:3.13-slim"),
        tag(capsys, source, "--base-image", "registry:5000/python:3.13"),
        tag(capsys, source, "--python", "3.12"),
        tag(capsys, source, app="processor"),
    }
    assert len(tags) == 5


def test_the_other_app_changes_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tag(capsys, source)
    (source / "apps" / "processor" / "gpu_token_processor" / "new.py").write_text("")
    assert tag(capsys, source) == before


def test_another_lock_is_another_tag(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tag(capsys, source)
    lock = source / "uv.lock"
    locked = next(
        line
        for line in build_context.locked_requirements(source, "producers", "3.13").splitlines()
        if line.startswith("msgspec==")
    )
    digest = locked.split("sha256:")[1][:64]
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    assert tag(capsys, source) != before


@pytest.mark.parametrize("app", ["processor", "producers"])
def test_requirements_are_those_of_the_machine_and_have_hashes(app: str) -> None:
    lines = build_context.locked_requirements(ROOT, app, "3.13").splitlines()
    names = [line.split("==")[0] for line in lines]
    assert "confluent-kafka" in names
    # Windows needs it; the machine does not.
    assert "colorama" not in names
    assert not [name for name in names if name.startswith("gpu-token")]
    assert all(" --hash=sha256:" in line and ";" not in line for line in lines)


@pytest.fixture
def built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (tmp_path / "cache").mkdir()
    wheels = cache() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / "wheels").symlink_to(wheels)
    return call(capsys, "producers", "--cache", str(tmp_path / "cache"))


def test_an_extra_adds_its_packages_and_makes_another_tag(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, parquet = (
        build_context.locked_requirements(source, "processor", "3.13", extras).splitlines()
        for extras in ((), ("parquet",))
    )
    added = [line for line in parquet if line not in plain]
    assert [line.split("==")[0] for line in added] == ["pyarrow"]
    assert set(plain) <= set(parquet)
    assert tag(capsys, source, "--extra=parquet", app="processor") != tag(capsys, source, app="processor")


def test_a_context_is_built_once_and_holds_all_that_the_image_needs(
    built: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert built["built"] is True
    again = call(capsys, "producers", "--cache", str(tmp_path / "cache"))
    assert again == {**built, "built": False}
    assert [path.name for path in (tmp_path / "cache" / "contexts").iterdir()] == [
        f"producers-{built['tag']}"
    ]

    with tarfile.open(built["archive"]) as tar:
        members = {member.name: member for member in tar.getmembers()}
        files = {name: tar.extractfile(name) for name, member in members.items() if member.isfile()}
        content = {name: file.read() for name, file in files.items() if file is not None}
    assert {member.mtime for member in members.values()} == {0}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert content["Dockerfile"] == (ROOT / "apps" / "Dockerfile").read_bytes()
    wheels = {name: body for name, body in content.items() if name.startswith("wheelhouse/")}
    requirements = content["requirements.txt"].decode()
    assert len(wheels) == len(requirements.splitlines())
    for name, body in wheels.items():
        assert name.endswith(".whl")
        assert f"--hash=sha256:{hashlib.sha256(body).hexdigest()}" in requirements
        assert "manylinux" in name or name.endswith("-none-any.whl")


def test_archives_of_the_same_files_are_the_same(tmp_path: Path) -> None:
    archives = []
    for moment in (1, 2):
        folder = tmp_path / str(moment)
        (folder / "wheelhouse").mkdir(parents=True)
        for name in ("Dockerfile", "wheelhouse/b.whl", "wheelhouse/a.whl"):
            (folder / name).write_text(name)
            os.utime(folder / name, (moment, moment))
            (folder / name).chmod(0o600 if moment == 1 else 0o664)
        target = tmp_path / f"{moment}.tar.gz"
        build_context.archive(folder, target)
        archives.append(target.read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as tar:
        assert tar.getnames() == ["Dockerfile", "wheelhouse", "wheelhouse/a.whl", "wheelhouse/b.whl"]


def test_a_build_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object) -> None:
        raise build_context.ContextError("pip could not download the locked wheels: no route to host")

    monkeypatch.setattr(build_context, "download", fail)
    assert build_context.main(["producers", "--cache", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "The build context of producers cannot be made: "
        "pip could not download the locked wheels: no route to host\n"
    )
    assert list((tmp_path / "contexts").iterdir()) == []


def test_a_source_without_the_apps_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        build_context.main(["producers", "--cache", str(tmp_path), "--source", str(tmp_path), "--check"]) == 1
    )
    said = capsys.readouterr().err
    assert said.startswith("The build context of producers cannot be made: uv could not export")
    assert said.count("\n") == 1
