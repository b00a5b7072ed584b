"""The command `discover`."""

import sys
from typing import Annotated

import typer
import yaml

from gpu_token_producers.errors import ProducerError


def discover(
    host: Annotated[
        str | None, typer.Option(help="Host that the events name. Default: this machine's name.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="Where the collector reaches this machine; by default it runs here.")
    ] = "127.0.0.1",
    deployment: Annotated[
        list[str] | None,
        typer.Option(help="PORT=NAME: what the engine at this port is called. Default: <host>:<port>."),
    ] = None,
    port: Annotated[
        list[int] | None, typer.Option(min=1, max=65535, help="Ask this port too whether it is an engine.")
    ] = None,
) -> None:
    """Print a sources.yml for this machine: its GPUs, its engines and which GPUs serve which.

    What could not be told goes to standard error. Without an NVIDIA driver it says so and exits with 1.
    """
    # What these load would slow down every other command.
    from gpu_token_producers.discovery.plan import discover as look
    from gpu_token_producers.sources.gpus.hosts import this_host

    names = dict(map(_named, deployment or ()))
    name = host or this_host()
    if name is None:
        raise typer.BadParameter("this machine's name is a container's id: give the host's by --host")
    try:
        found = look(name, address, names, {*names, *(port or ())})
    except ProducerError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    for notice in found.notices:
        print(notice, file=sys.stderr)
    print(yaml.safe_dump({"sources": found.sources}, sort_keys=False, allow_unicode=True), end="")


def _named(text: str) -> tuple[int, str]:
    port, _, name = text.partition("=")
    if not (port.isascii() and port.isdigit() and name) or not 1 <= int(port) <= 65535:
        raise typer.BadParameter(f"--deployment is {text!r}: give PORT=NAME, such as 8000=chat")
    return int(port), name
