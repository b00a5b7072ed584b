"""Makes the images that recipes describe: from the engine, else from the storage, else from packages."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.images import context, store
from lab.images.recipe import Recipe
from lab.registry_server import serving
from lab.shell import run, succeeds

Report = Callable[[str], None]


class Builder:
    """Provides images, cheapest way first, and leaves each one in the registry's storage."""

    def __init__(self, root: Path, report: Report) -> None:
        self._root = root
        self._report = report

    def in_engine(self, recipe: Recipe) -> str:
        """The image's name in the host's engine, where it then is."""
        if not succeeds(["docker", "image", "inspect", recipe.engine_name]):
            if store.holds(self._root, recipe.repository, recipe.tag):
                self._pull(recipe)
            else:
                self._build(recipe)
        if not store.holds(self._root, recipe.repository, recipe.tag):
            self._push(recipe)
        return recipe.engine_name

    def in_store(self, recipe: Recipe) -> str:
        """The image's reference in the registry's storage, where it then is."""
        if not store.holds(self._root, recipe.repository, recipe.tag):
            self.in_engine(recipe)
        return recipe.reference

    def drop(self, recipe: Recipe) -> None:
        """Take an image out of the engine; its storage keeps it."""
        succeeds(["docker", "image", "rm", recipe.engine_name])

    def _build(self, recipe: Recipe) -> None:
        parent = self.in_engine(recipe.parent) if recipe.parent else None
        with tempfile.TemporaryDirectory(prefix=f"lab-{recipe.name}-") as folder:
            prepared, tar = Path(folder, "prepared"), Path(folder, "context.tar")
            prepared.mkdir()
            if (recipe.folder / context.PREPARE).exists():
                with self._step(f"{recipe.name}: fetching packages"):
                    run(
                        [str(recipe.folder / context.PREPARE), str(prepared)],
                        timeout_seconds=None,
                        env={**os.environ, "PYTHON": sys.executable, **recipe.settings},
                        cwd=recipe.folder,
                    )
            context.write_tar(tar, context.entries(recipe.folder) + context.entries(prepared))
            arguments = {**recipe.settings, **({"BASE_IMAGE": parent} if parent else {})}
            with self._step(f"{recipe.name}: building"):
                # Every engine has the classic builder; BuildKit needs a plugin that Debian 12 does not have.
                # Its own layer cache must not be used: it would keep old packages under a new hash.
                run(
                    [
                        *("docker", "build", "--no-cache", "--force-rm", "--tag", recipe.engine_name),
                        *(f"--build-arg={name}={value}" for name, value in sorted(arguments.items())),
                        "-",
                    ],
                    timeout_seconds=None,
                    stdin=tar,
                    env={**os.environ, "DOCKER_BUILDKIT": "0"},
                )

    def _push(self, recipe: Recipe) -> None:
        with self._step(f"{recipe.name}: storing"), serving(self._root) as address:
            remote = f"{address}/{recipe.reference}"
            run(["docker", "tag", recipe.engine_name, remote])
            try:
                run(["docker", "push", "--quiet", remote], timeout_seconds=None)
            finally:
                succeeds(["docker", "image", "rm", remote])

    def _pull(self, recipe: Recipe) -> None:
        with self._step(f"{recipe.name}: loading from the cache"), serving(self._root) as address:
            remote = f"{address}/{recipe.reference}"
            run(["docker", "pull", "--quiet", remote], timeout_seconds=None)
            run(["docker", "tag", remote, recipe.engine_name])
            succeeds(["docker", "image", "rm", remote])

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._report(f"{what} …")
        begin = time.monotonic()
        yield
        self._report(f"{what} took {time.monotonic() - begin:.0f} s")
