"""Runs nvidia-smi on this machine."""

import os
import subprocess
from collections.abc import Sequence

from gpu_token_producers.errors import ProducerError

COMMAND = ("nvidia-smi",)
COLUMNS = ("index", "uuid", "name", "utilization.gpu", "memory.used", "memory.total", "power.draw")
TIMEOUT_SECONDS = 10.0

_KILL_SECONDS = 2.0
_SHOWN_LENGTH = 200


class NoDriver(ProducerError):
    """This machine has no NVIDIA driver that answers."""


def query(command: Sequence[str] = COMMAND, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """The table of all GPUs as CSV with header and units, for smi_readings.

    Raises NoDriver with one sentence if there is none, or if it fails or does not answer in time.
    """
    return ask([f"--query-gpu={','.join(COLUMNS)}", "--format=csv"], command, timeout_seconds)


def ask(
    options: Sequence[str], command: Sequence[str] = COMMAND, timeout_seconds: float = TIMEOUT_SECONDS
) -> str:
    """What `nvidia-smi <options>` prints; raises NoDriver as `query` does."""
    words = [*command, *options]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NoDriver(
            f"This machine has no NVIDIA driver: {command[0]} cannot be run ({error.strerror}). Install the "
            "driver, or leave the source out."
        ) from error
    output = _output(process, command[0], timeout_seconds).decode("utf-8", "replace")
    if process.returncode:
        said = " ".join(output.split())[:_SHOWN_LENGTH] or "it printed nothing"
        raise NoDriver(
            f"This machine has no NVIDIA driver that answers: {command[0]} ended with status "
            f"{process.returncode}: {said}"
        )
    return output


def _output(process: "subprocess.Popen[bytes]", name: str, timeout_seconds: float) -> bytes:
    try:
        return process.communicate(timeout=timeout_seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            process.communicate(timeout=_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            # It hangs in the driver, where not even SIGKILL ends it. It must not hang us too.
            if process.stdout is not None:
                process.stdout.close()
        raise NoDriver(
            f"This machine has no NVIDIA driver that answers: {name} was silent for {timeout_seconds:g} "
            "seconds. Look for Xid errors in the kernel's log."
        ) from None
