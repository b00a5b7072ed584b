"""A container of the pipeline on its machine, and what can be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab import machines, shell
from lab.settings import Settings

_METRIC = "gpu_token_events_stored_total{"
_READ_METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=20).read().decode())
"""


@dataclass(frozen=True)
class Service:
    """A container and its machine; commands run as root on the machine."""

    settings: Settings
    machine: str
    container: str

    def on_machine(self, *command: str) -> list[str]:
        """The command that runs `command` on the machine."""
        return ["docker", "exec", "--interactive", self.settings.container(self.machine), *command]

    def docker(self, *arguments: str) -> str:
        """What the machine's docker prints."""
        return shell.run(self.on_machine("docker", *arguments))

    def kill(self) -> None:
        """Kill the main process, as a crash would; after a `docker kill` Docker would not restart it."""
        pid = self.docker("inspect", "--format={{.State.Pid}}", self.container).strip()
        shell.run(self.on_machine("kill", "-KILL", pid))

    def reboot(self) -> None:
        """Reboot the machine."""
        machines.reboot(self.settings, self.machine)

    def started_at(self) -> str | None:
        """When the container was last started; None if it does not run."""
        state = self._inspect("{{.State.Running}} {{.State.StartedAt}}").split()
        return state[1] if state[:1] == ["true"] else None

    def healthy(self) -> bool:
        """Whether the container's health check passes."""
        return self._inspect("{{.State.Health.Status}}") == "healthy"

    def stored_events(self) -> int | None:
        """How many events a processor has stored since its start; None if it does not answer."""
        ask = self.on_machine("docker", "exec", self.container, "python", "-c", _READ_METRICS)
        done = shell.attempt(ask)
        return None if done.returncode else stored_events(done.stdout.decode().splitlines())

    def _inspect(self, template: str) -> str:
        ask = self.on_machine("docker", "inspect", f"--format={template}", self.container)
        return shell.attempt(ask).stdout.decode().strip()


def stored_events(metrics: Sequence[str]) -> int:
    """The sum of a processor's counters of stored events."""
    return int(sum(float(line.rpartition(" ")[2]) for line in metrics if line.startswith(_METRIC)))
