"""``lab``: the commands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from fleet.model import FleetError, load
from lab import engine, lock, preflight, settings, status
from lab.drill import command as fault_drill
from lab.environment import Environment
from lab.errors import LabError
from lab.images.errors import ImageError
from lab.report import Report, table_console

app = typer.Typer(
    help="The lab: the machines of fleet.yml on this computer. LAB_NAME chooses the environment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Argument(metavar="MACHINE", help="A machine's name, for example kafka-1.")]


@app.command()
def up(
    names: Annotated[list[str] | None, typer.Argument(metavar="[MACHINE]...", help="Default: all.")] = None,
) -> None:
    """Bring the machines up, repairing what is broken."""
    with _environment() as environment:
        environment.up(names or [])
        environment.report.outcome(f"lab {environment.settings.name} is up")


@app.command()
def down() -> None:
    """Take everything down and leave nothing but the cache."""
    with _environment() as environment:
        environment.down()
        environment.report.outcome(f"lab {environment.settings.name} is down")


@app.command(name="status")
def show() -> None:
    """Show the machines."""
    with _environment(locked=False) as environment:
        engine.require()
        lines = status.rows(environment.settings, environment.fleet)
        if not lines:
            raise LabError(f"no machine of {environment.settings.name} is up: run `lab up`.")
        table_console().print(status.table(environment.settings, lines))


@app.command()
def ssh(name: Name) -> None:
    """Open a shell on a machine."""
    with _environment(locked=False) as environment:
        command = environment.keys.command(environment.running(name).address)
    os.execvp(command[0], command)


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def execute(name: Name, command: Annotated[list[str], typer.Argument(metavar="-- CMD...")]) -> None:
    """Run a command on a machine over SSH; its exit status becomes ours."""
    with _environment(locked=False) as environment:
        full = environment.keys.command(environment.running(name).address, *command)
    os.execvp(full[0], full)


@app.command()
def reboot(name: Name) -> None:
    """Reboot a machine and wait until it is back."""
    with _environment() as environment:
        environment.reboot(name)


@app.command()
def stop(name: Name) -> None:
    """Stop a machine."""
    with _environment() as environment:
        environment.stop(name)


@app.command()
def start(name: Name) -> None:
    """Start a stopped machine."""
    with _environment() as environment:
        environment.start(name)


@app.command()
def replace(name: Name) -> None:
    """Destroy a machine and make a new one with the same data disk."""
    with _environment() as environment:
        environment.replace(name)


@app.command()
def drill(
    only: Annotated[
        list[str] | None, typer.Option(metavar="FAULT", help="This fault alone; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed strikes at the same moments.")] = 1,
) -> None:
    """Break one thing after the other under load, and count: build/drill.json."""
    with _environment() as environment:
        passed = fault_drill.drill(environment.settings, only or [], seed)
    raise typer.Exit(0 if passed else 1)


@contextmanager
def _environment(locked: bool = True) -> Iterator[Environment]:
    """The environment to work on; errors become one sentence and exit status 1."""
    report = Report()
    try:
        preflight.require_root()
        fleet = load(settings.fleet_file(os.environ))
        chosen = settings.from_environment(os.environ, fleet)
        environment = Environment(chosen, fleet, report)
        if locked:
            with lock.held(chosen.state, report):
                yield environment
        else:
            yield environment
    except FleetError as error:
        for sentence in error.errors:
            report.failed(f"fleet.yml: {sentence}")
        raise typer.Exit(1) from error
    except (LabError, ImageError) as error:
        report.failed(str(error))
        raise typer.Exit(1) from error
