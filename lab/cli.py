"""``lab``: the commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lab import engine, status
from lab.command import opened
from lab.errors import LabError
from lab.report import table_console

app = typer.Typer(
    help="The lab: the machines of fleet.yml on this computer. LAB_NAME chooses the environment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Argument(metavar="MACHINE", help="A machine's name, for example kafka-1.")]


@app.command()
def up(
    names: Annotated[list[str] | None, typer.Argument(metavar="[MACHINE]...", help="Default: all.")] = None,
    workload: Annotated[
        bool, typer.Option("--workload", help="Also engines, a GPU exporter and a gateway, until `lab down`.")
    ] = False,
) -> None:
    """Bring the machines up, repairing what is broken."""
    with opened() as environment:
        if workload:
            environment.want_workload()
        environment.up(names or [])
        environment.report.outcome(f"lab {environment.settings.name} is up")


@app.command()
def down() -> None:
    """Take everything down and leave nothing but the cache."""
    with opened() as environment:
        environment.down()
        environment.report.outcome(f"lab {environment.settings.name} is down")


@app.command(name="status")
def show() -> None:
    """Show the machines."""
    with opened(locked=False) as environment:
        engine.require()
        lines = status.rows(environment.settings, environment.fleet)
        if not lines:
            raise LabError(f"no machine of {environment.settings.name} is up: run `lab up`.")
        table_console().print(status.table(environment.settings, lines))


@app.command()
def ssh(name: Name) -> None:
    """Open a shell on a machine."""
    with opened(locked=False) as environment:
        command = environment.keys.command(environment.running(name).address)
    os.execvp(command[0], command)


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def execute(name: Name, command: Annotated[list[str], typer.Argument(metavar="-- CMD...")]) -> None:
    """Run a command on a machine over SSH; its exit status becomes ours."""
    with opened(locked=False) as environment:
        full = environment.keys.command(environment.running(name).address, *command)
    os.execvp(full[0], full)


@app.command()
def reboot(name: Name) -> None:
    """Reboot a machine and wait until it is back."""
    with opened() as environment:
        environment.reboot(name)


@app.command()
def stop(name: Name) -> None:
    """Stop a machine."""
    with opened() as environment:
        environment.stop(name)


@app.command()
def start(name: Name) -> None:
    """Start a stopped machine."""
    with opened() as environment:
        environment.start(name)


@app.command()
def replace(name: Name) -> None:
    """Destroy a machine and make a new one with the same data disk."""
    with opened() as environment:
        environment.replace(name)
