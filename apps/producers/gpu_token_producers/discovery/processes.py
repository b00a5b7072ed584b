"""Which process listens where, and which processes belong together."""

import ipaddress
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

# Who starts unrelated programs: what such a process has started beside an engine is not the engine's.
_STARTERS = frozenset(
    {
        *("systemd", "init", "launchd", "sshd", "login", "su", "sudo", "cron", "crond", "supervisord"),
        *("bash", "sh", "dash", "zsh", "fish", "tmux", "tmux: server", "screen"),
        *("dockerd", "containerd", "containerd-shim", "conmon", "podman", "kubelet", "slurmstepd"),
        *("tini", "docker-init", "dumb-init", "s6-svscan", "runsv"),
    }
)
_PORT_OPTIONS = ("--port", "-p", "--http-port")
_PROXY = "docker-proxy"


class Listener(NamedTuple):
    """A TCP port, the address to reach it at from this machine, and who listens; None if not ours to see."""

    pid: int | None
    address: str
    port: int
    everywhere: bool


def listeners() -> list[Listener]:
    """All that listen in this machine's own network; each port once."""
    found: dict[int, Listener] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        bound = ipaddress.ip_address(connection.laddr.ip)
        everywhere = bound.is_unspecified
        address = "127.0.0.1" if everywhere else f"[{bound}]" if bound.version == 6 else str(bound)
        listener = Listener(connection.pid, address, connection.laddr.port, everywhere)
        known = found.get(listener.port)
        if known is None or (everywhere and not known.everywhere):
            found[listener.port] = listener
    return list(found.values())


def circles(pid: int) -> Iterator[frozenset[int]]:
    """The process with all that it started; then its parent with all of that; and so on, each wider.

    Ends before a shell or a service manager, which start unrelated programs. Nothing if it has ended.
    """
    try:
        process: psutil.Process | None = psutil.Process(pid)
        while process is not None and process.pid != 1:
            yield frozenset([process.pid, *(child.pid for child in process.children(recursive=True))])
            process = process.parent()
            if process is not None and _starts_others(process):
                return
    except psutil.Error:
        return


def _starts_others(process: psutil.Process) -> bool:
    name = process.name()
    return name in _STARTERS or name.startswith("containerd-shim")


def ports_by_option(pids: Collection[int]) -> frozenset[int]:
    """The ports that the command lines of these processes name by --port."""
    ports = set()
    for pid in pids:
        words = _command_line(pid)
        for at, word in enumerate(words):
            option, _, value = word.partition("=")
            if option in _PORT_OPTIONS:
                value = value or (words[at + 1] if at + 1 < len(words) else "")
                if value.isascii() and value.isdigit() and len(value) <= 5:
                    ports.add(int(value))
    return frozenset(ports)


def published_ports(pids: Collection[int]) -> frozenset[int]:
    """The ports of this machine that Docker passes on to these processes' container, if they are in one.

    Such a process listens in a network of its own. What it listens on there is not seen from here, but
    Docker's proxy says for which address it stands.
    """
    addresses = {address for pid in pids if _elsewhere(pid) for address in _addresses(pid)}
    ports = set()
    if addresses:
        for process in psutil.process_iter():
            try:
                # One in another network belongs to another Docker, such as that of a container.
                if process.name() != _PROXY or _elsewhere(process.pid):
                    continue
                words = process.cmdline()
            except psutil.Error:
                continue
            # -proto tcp -host-ip 0.0.0.0 -host-port 8000 -container-ip 172.17.0.2 -container-port 8000
            given = dict(pairwise(words))
            port = given.get("-host-port", "")
            if given.get("-proto") == "tcp" and given.get("-container-ip") in addresses and port.isdigit():
                ports.add(int(port))
    return frozenset(ports)


def _command_line(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _elsewhere(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    except OSError:
        return False


def _addresses(pid: int) -> set[str]:
    """The IPv4 addresses in the network of the process."""
    try:
        lines = Path(f"/proc/{pid}/net/fib_trie").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    # An address stands in the line before the one that calls it local.
    return {before.split()[-1] for before, line in pairwise(lines) if line.strip() == "/32 host LOCAL"} - {
        "127.0.0.1"
    }
