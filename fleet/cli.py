"""``fleet check``: is fleet.yml right?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.model import FleetError, load

app = typer.Typer(help="Checks fleet.yml, the one truth about the fleet.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Checks fleet.yml, the one truth about the fleet."""


@app.command()
def check(path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("fleet.yml")) -> None:
    """Print one sentence for each error in PATH; exit 1 if there is any."""
    try:
        fleet = load(path)
    except FleetError as error:
        for sentence in error.errors:
            typer.echo(f"{path}: {sentence}", err=True)
        raise typer.Exit(1) from error
    typer.echo(
        f"{path}: {len(fleet.machines())} machines, {len(fleet.flows)} flows, {len(fleet.topics)} topics."
    )
