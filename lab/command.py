"""What every command on a lab begins with and how it ends, the drill's included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fleet.model import FleetError, load
from lab import lock, preflight, settings
from lab.environment import Environment
from lab.errors import LabError
from lab.report import Report


@contextmanager
def opened(locked: bool = True) -> Iterator[Environment]:
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
    except LabError as error:
        report.failed(str(error))
        raise typer.Exit(1) from error
