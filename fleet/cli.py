"""``fleet check``: is fleet.yml right? ``fleet docs``: what does it look like?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet import docs as pages
from fleet.model import Fleet, FleetError, load

app = typer.Typer(help="Checks fleet.yml, the one truth about the fleet, and draws it.", no_args_is_help=True)


@app.command()
def check(path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("fleet.yml")) -> None:
    """Print one sentence for each error in PATH; exit 1 if there is any."""
    fleet = _loaded(path)
    counts = f"{len(fleet.machines())} machines, {len(fleet.flows)} flows, {len(fleet.topic_names())} topics"
    typer.echo(f"{path}: {counts}.")


@app.command()
def docs(
    path: Annotated[Path, typer.Argument(help="The file to draw; docs/ lies beside it.")] = Path("fleet.yml"),
    check: Annotated[bool, typer.Option(help="Change nothing; exit 1 if a page is out of date.")] = False,
) -> None:
    """Write the diagram and the tables that docs/ has of PATH."""
    fleet = _loaded(path)
    for name, part in pages.PARTS.items():
        page = path.parent / "docs" / name
        text = page.read_text(encoding="utf-8")
        wanted = pages.updated(text, part(fleet))
        if check and wanted != text:
            typer.echo(f"{page} is out of date; run: make docs", err=True)
            raise typer.Exit(1)
        if not check:
            page.write_text(wanted, encoding="utf-8")


def _loaded(path: Path) -> Fleet:
    try:
        return load(path)
    except FleetError as error:
        for sentence in error.errors:
            typer.echo(f"{path}: {sentence}", err=True)
        raise typer.Exit(1) from error
