"""The GPUs of this machine, and the processes that use them, as nvidia-smi tells."""

import csv
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from gpu_token_producers.sources.gpus.mig import slice_uuid
from gpu_token_producers.sources.gpus.nvidia_smi import rows
from gpu_token_producers.sources.gpus.nvidia_smi_command import COMMAND, NoDriver, ask
from gpu_token_producers.traces.rows import BrokenRow

_GPU_COLUMNS = ("index", "uuid", "name")
_APP_COLUMNS = ("gpu_uuid", "pid", "process_name")
_CSV = "--format=csv,noheader"


class GpuUse(NamedTuple):
    """A process that uses a card; `slices` are those of its MIG slices that it is in, empty without MIG."""

    pid: int
    process_name: str
    card: str
    slices: tuple[str, ...] = ()


def cards(command: Sequence[str] = COMMAND) -> list[str]:
    """The uuids of the machine's GPUs. Raises NoDriver if there is no driver, or no GPU."""
    output = ask([f"--query-gpu={','.join(_GPU_COLUMNS)}", _CSV], command)
    found = [
        row[1].seen.uuid
        for row in rows(output.splitlines(), None, command[0], _GPU_COLUMNS)
        if not isinstance(row, BrokenRow)
    ]
    if not found:
        raise NoDriver(f"This machine has an NVIDIA driver and no GPU: {command[0]} says {output.strip()!r}.")
    return [uuid for uuid in found if uuid is not None]


def uses(command: Sequence[str] = COMMAND) -> list[GpuUse]:
    """Which processes compute on which GPU. Raises NoDriver.

    A process whose number the driver does not show, as in some containers, is left out.
    """
    output = ask([f"--query-compute-apps={','.join(_APP_COLUMNS)}", _CSV], command)
    slices = _slices(command)
    found = []
    for cells in csv.reader(output.splitlines(), quoting=csv.QUOTE_NONE):
        if len(cells) >= len(_APP_COLUMNS) and cells[1].strip().isdigit():
            card, pid = cells[0].strip(), int(cells[1])
            # A program's path may have commas, and nvidia-smi quotes nothing.
            name = ",".join(cells[2:]).strip()
            found.append(GpuUse(pid, name, card, tuple(sorted(slices.get((card, pid), ())))))
    return found


def _slices(command: Sequence[str]) -> dict[tuple[str, int], set[str]]:
    """The slices that a process is in, by card and process: only the XML tells."""
    try:
        modes = ask(["--query-gpu=uuid,mig.mode.current", _CSV], command)
    except NoDriver:
        # A driver from before MIG does not know the question.
        return {}
    if "Enabled" not in modes:
        return {}
    found: dict[tuple[str, int], set[str]] = {}
    for gpu in _parsed(ask(["-q", "-x"], command), command).iter("gpu"):
        card = gpu.findtext("uuid", "")
        for process in gpu.iter("process_info"):
            pid, instance = process.findtext("pid", ""), process.findtext("gpu_instance_id", "")
            if pid.isdigit() and instance.isdigit():
                found.setdefault((card, int(pid)), set()).add(slice_uuid(card, instance))
    return found


def _parsed(text: str, command: Sequence[str]) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise NoDriver(f"{command[0]} -q -x does not print XML ({error}): run it and look.") from error
