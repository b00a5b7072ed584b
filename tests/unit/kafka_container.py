"""A broker's container as modules see it: `docker exec`, and tools that note how they were called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

# Leaves out docker's own options; what follows the container's name runs here.
DOCKER = """#!/bin/bash
shift
while [ "$1" != kafka ]; do shift; done
exec "${@:2}"
"""
# Notes its arguments, a line each call, and what the file holds that is named last.
TOOL = """#!/bin/bash
printf '%s\\n' "$*" >> "$0.calls"
[[ ${!#} != /dev/fd/* ]] || cat "${!#}" > "$0.secret"
cat "$0.prints" 2>/dev/null || true
"""


class Container:
    """Stands in for the container; its tools lie in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *tools: str) -> None:
        self.bin = folder
        for name, script in {"docker": DOCKER, **dict.fromkeys(tools, TOOL)}.items():
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    def prints(self, tool: str, text: str) -> None:
        """What a tool says from now on."""
        (self.bin / f"{tool}.prints").write_text(text)

    def calls(self, tool: str) -> list[str]:
        """How a tool was called, without how it logs in."""
        noted = self.bin / f"{tool}.calls"
        login = "--bootstrap-server localhost:29092 --command-config /admin.properties "
        lines = noted.read_text().splitlines() if noted.exists() else []
        assert all(line.startswith(login) for line in lines)
        return [line.removeprefix(login) for line in lines]

    def secret(self, tool: str) -> str:
        """The line that it was given as a file."""
        return (self.bin / f"{tool}.secret").read_text().removesuffix("\n")

    def run(
        self, module: Any, capsys: pytest.CaptureFixture[str], **arguments: Any
    ) -> tuple[dict[str, Any], str]:
        """Run a module; give its result, and all that it printed."""
        where = {"bootstrap_server": "localhost:29092", "command_config": "/admin.properties"}
        with (
            patch_module_args({**where, "bin_dir": str(self.bin), **arguments}),
            pytest.raises(SystemExit),
        ):
            module.main()
        printed = capsys.readouterr().out
        return json.loads(printed.splitlines()[-1]), printed
