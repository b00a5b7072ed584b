"""Prepares what a machine needs to build an app's image without a package index.

    python build_context.py producers --cache DIR [--source DIR] [--base-image REF] [--check]

Prints one line of JSON: `tag` names the content (12 hexadecimal digits: the app's and the
contracts' sources, the Dockerfile, the locked requirements, the base image, the Python version),
`context` is the folder, `archive` the same as one file for the machine, `built` says whether this
call made them. The same content makes nothing again; --check never makes anything.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

try:
    from packaging.markers import Marker
    from packaging.utils import parse_wheel_filename
    from uv import find_uv_bin
except ImportError as missing:
    sys.exit(f"Ansible's Python has no package {missing.name}: install packaging, pip and uv beside Ansible.")

APPS = ("processor", "producers")
# Raise it when this file makes other contexts of the same sources.
FORMAT = 1
# The machines' platform, newest first: pip takes the first that a package has a wheel for.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# The base image's (images.python of fleet.yml).
PYTHON = "3.13"
# The checkout, or the installed collection, that this role belongs to.
ROOT = Path(__file__).resolve().parents[3]
SHOWN_LINES = 5


class ContextError(Exception):
    """A failure that one sentence explains."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that decides the content of an app's image."""

    app: str
    source: Path
    base_image: str
    python: str
    requirements: str

    @property
    def projects(self) -> tuple[Path, Path]:
        """The two projects whose wheels the image holds."""
        return self.source / "apps" / "contracts", self.source / "apps" / self.app

    @property
    def dockerfile(self) -> Path:
        """The Dockerfile of both apps; it has a target for each."""
        return self.source / "apps" / "Dockerfile"

    def tag(self) -> str:
        """12 hexadecimal digits of the content."""
        settings = (str(FORMAT), self.app, self.python, self.base_image, self.requirements, *PLATFORMS)
        parts = [setting.encode() for setting in settings]
        for file in (self.dockerfile, *(file for project in self.projects for file in _sources(project))):
            parts += [file.relative_to(self.source).as_posix().encode(), file.read_bytes()]
        digest = hashlib.sha256()
        for part in parts:
            # The length goes first, so that no two lists of parts run together into the same bytes.
            digest.update(b"%d:%b" % (len(part), part))
        return digest.hexdigest()[:12]


def main(arguments: list[str] | None = None) -> int:
    """Print the context's JSON; exit status 1 with a sentence if there can be none."""
    options = _parser().parse_args(arguments)
    source: Path = options.source.resolve()
    try:
        inputs = Inputs(
            app=options.app,
            source=source,
            base_image=options.base_image,
            python=options.python,
            requirements=locked_requirements(source, options.app, options.python, options.extra),
        )
        tag = inputs.tag()
        folder: Path = options.cache.resolve() / "contexts" / f"{options.app}-{tag}"
        build = not options.check and not folder.exists()
        if build:
            make(inputs, folder, options.cache / "wheels")
    except (ContextError, OSError) as error:
        print(f"The build context of {options.app} cannot be made: {error}", file=sys.stderr)
        return 1
    result = {
        "tag": tag,
        "context": str(folder / "context"),
        "archive": str(folder / "context.tar.gz"),
        "built": build,
    }
    print(json.dumps(result))
    return 0


def locked_requirements(source: Path, app: str, python: str, extras: Sequence[str] = ()) -> str:
    """What the app and these extras of it need on the machine, as the lock file has it, with hashes."""
    export = [find_uv_bin(), "export", "--quiet", "--project", str(source), "--package", f"gpu-token-{app}"]
    export += ["--frozen", "--no-emit-workspace", "--no-dev", "--no-header", "--no-annotate"]
    export += [argument for extra in extras for argument in ("--extra", extra)]
    exported = _run(export, f"uv could not export the lock file of {source}")
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    kept = []
    for requirement in exported.replace("\\\n", " ").splitlines():
        name, _, rest = requirement.partition(" --hash")
        pin, _, marker = name.partition(";")
        # pip would ask its own Python about the marker, which is not the machine's.
        if not marker.strip() or Marker(marker.strip()).evaluate(environment):
            hashes = " ".join(sorted(f"--hash{rest}".split()))
            kept.append(f"{pin.strip()} {hashes}\n")
    return "".join(sorted(kept))


def make(inputs: Inputs, folder: Path, wheel_cache: Path) -> None:
    """Make the context's folder in one step; a call that was cut off leaves nothing under its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        work.chmod(0o755)
        context = work / "context"
        wheelhouse = context / "wheelhouse"
        wheelhouse.mkdir(parents=True)
        download(inputs, wheelhouse, wheel_cache)
        own = "".join(_own_requirement(wheel) for wheel in build_wheels(inputs, wheelhouse))
        (context / "requirements.txt").write_text(inputs.requirements + own)
        shutil.copyfile(inputs.dockerfile, context / "Dockerfile")
        archive(context, work / "context.tar.gz")
        work.rename(folder)
    except OSError:
        # Another call may have made the same content meanwhile.
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def download(inputs: Inputs, wheelhouse: Path, wheel_cache: Path) -> None:
    """Fill the wheelhouse from the cache if it has everything, else from the package index."""
    wheel_cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(inputs.requirements)
        requirements.flush()
        platforms = [argument for platform in PLATFORMS for argument in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation", "cp"]
        command += ["--python-version", inputs.python, *platforms]
        command += ["--dest", str(wheelhouse), "--requirement", requirements.name]
        cached = subprocess.run(
            [*command, "--no-index", "--find-links", str(wheel_cache)], capture_output=True, check=False
        )
        if cached.returncode != 0:
            _run(command, "pip could not download the locked wheels")
    for wheel in wheelhouse.glob("*.whl"):
        kept = wheel_cache / wheel.name
        if not kept.exists():
            partial = wheel_cache / f".{wheel.name}.{os.getpid()}"
            shutil.copyfile(wheel, partial)
            partial.rename(kept)


def build_wheels(inputs: Inputs, wheelhouse: Path) -> Iterator[Path]:
    """Build the wheels of the contracts and the app; yields them."""
    for project in inputs.projects:
        with tempfile.TemporaryDirectory() as out:
            _run(
                [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", out, str(project)],
                f"uv could not build the wheel of {project}",
            )
            (wheel,) = Path(out).glob("*.whl")
            yield Path(shutil.copy(wheel, wheelhouse))


def archive(context: Path, target: Path) -> None:
    """Pack the context; the same files make the same bytes, whenever and whoever packs them."""
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=1) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(context.rglob("*")):
            tar.add(path, path.relative_to(context).as_posix(), recursive=False, filter=_anonymous)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Prepare an app's build context; prints JSON.")
    parser.add_argument("app", choices=APPS)
    parser.add_argument("--cache", type=Path, required=True, help="where contexts and downloads are kept")
    parser.add_argument("--source", type=Path, default=ROOT, help="checkout to build from (this one)")
    parser.add_argument("--python", default=PYTHON, help=f"the base image's Python ({PYTHON})")
    parser.add_argument("--base-image", default="", help="the base image: another one, another tag")
    parser.add_argument(
        "--extra", action="append", default=[], help="an extra of the app that the image has; may be repeated"
    )
    parser.add_argument("--check", action="store_true", help="print the tag and make nothing")
    return parser


def _sources(project: Path) -> Iterable[Path]:
    """What the project's wheel is made of, in a stable order."""
    package = project / f"gpu_token_{project.name}"
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [project / "pyproject.toml", *sorted(files)]


def _own_requirement(wheel: Path) -> str:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _run(command: list[str], problem: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.strip().splitlines()[-SHOWN_LINES:])
        raise ContextError(f"{problem}: {said or f'exit status {done.returncode}'}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
