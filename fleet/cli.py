"""``fleet check``: is fleet.yml right? The other commands: what does it look like?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet import diagram as pictures
from fleet import network as tables
from fleet import sequence as charts
from fleet.model import Fleet, FleetError, load

app = typer.Typer(help="Checks fleet.yml, the one truth about the fleet.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Checks fleet.yml, the one truth about the fleet."""


@app.command()
def check(path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("fleet.yml")) -> None:
    """Print one sentence for each error in PATH; exit 1 if there is any."""
    fleet = _loaded(path)
    counts = f"{len(fleet.machines())} machines, {len(fleet.flows)} flows, {len(fleet.topic_names())} topics"
    typer.echo(f"{path}: {counts}.")


@app.command()
def diagram(path: Annotated[Path, typer.Argument(help="The file to draw.")] = Path("fleet.yml")) -> None:
    """Print machines, ports and flows as Graphviz DOT."""
    typer.echo(pictures.architecture(_loaded(path)), nl=False)


@app.command()
def sequence(
    path: Annotated[Path, typer.Argument(help="The file to draw.")] = Path("fleet.yml"),
    playbooks: Annotated[Path, typer.Option(help="The folder of site.yml and verify.yml.")] = Path(
        "playbooks"
    ),
) -> None:
    """Print the steps from nothing to a verified pipeline as a message sequence chart (mscgen)."""
    typer.echo(charts.provisioning(_loaded(path), playbooks), nl=False)


@app.command()
def network(path: Annotated[Path, typer.Argument(help="The file to tabulate.")] = Path("fleet.yml")) -> None:
    """Print who may reach whom as Markdown tables."""
    typer.echo(tables.document(_loaded(path)), nl=False)


def _loaded(path: Path) -> Fleet:
    try:
        return load(path)
    except FleetError as error:
        for sentence in error.errors:
            typer.echo(f"{path}: {sentence}", err=True)
        raise typer.Exit(1) from error
