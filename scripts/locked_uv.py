"""Prints uv as uv.lock pins it, as a line of requirements with its hashes."""

import tomllib
from pathlib import Path

lock = tomllib.loads((Path(__file__).parents[1] / "uv.lock").read_text())
[uv] = (package for package in lock["package"] if package["name"] == "uv")
print(f"uv=={uv['version']}", *(f"--hash={wheel['hash']}" for wheel in uv["wheels"]))
