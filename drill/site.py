"""The pipeline that is drilled: its services, its load and its books."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drill.accounts import Found
from drill.load import Load, Order
from drill.service import Service
from lab import engine, machines, shell
from lab.errors import LabError
from lab.settings import Settings
from lab.waiting import until

_PROJECTS = "/opt/gpu-token"
_REMOTE = Path(__file__).parent / "remote"
_COUNT_SECONDS = 120
_RECOVERY_SECONDS = 300
# A health check of the store may be this far away.
_HEALTH_SECONDS = 60
_SECOND_PROCESSOR = "drill-processor"
# Options of a container that reads its program from standard input.
_SCRIPT = ["--rm", "--entrypoint=python"]


class Site:
    """The first machine of each role."""

    def __init__(self, settings: Settings) -> None:
        self.broker = Service(settings, "kafka-1", "kafka")
        self.store = Service(settings, "mongo-1", "mongo")
        self.processor = Service(settings, "processor-1", "processor")
        self.producers = Service(settings, "producers-1", "producers")
        self.processors = [self.processor]
        self.settings = settings

    def require_healthy(self) -> None:
        """Raise a sentence unless all machines are up and all services healthy."""
        engine.require()
        up = machines.listing(self.settings)
        for service in (self.broker, self.store, self.processor, self.producers):
            if service.machine not in up or not up[service.machine].running:
                raise LabError(
                    f"{service.machine} of {self.settings.name} is not up: run `make lab-up converge`."
                )
            until(
                service.healthy,
                f"{service.machine} of {self.settings.name} has no healthy container {service.container}",
                _HEALTH_SECONDS,
                "run `make converge`",
            )

    @contextmanager
    def load(self, order: Order) -> Iterator[Load]:
        """Send events until the end of the block."""
        command = self.command("producers", Load.CONTAINER, _SCRIPT, ["-", *order.arguments()])
        load = Load(self.producers, command)
        try:
            yield load
        finally:
            load.remove()

    def count(self, run: str, since: float) -> Found:
        """What the store and the dead-letter topics have of a run, read with the login that may read each."""
        lines: list[str] = []
        for service, script in ((self.processor, "list_stored"), (self.producers, "list_dead_lettered")):
            lines += self.ask(service, script, run, str(since))
        return Found.read(lines)

    def ask(self, service: Service, script: str, *arguments: str) -> list[str]:
        """The lines that a script of drill/remote prints, run with a service's image and settings."""
        command = self.command(service.container, f"drill-{script}", _SCRIPT, ["-", *arguments])
        said = shell.run(
            service.on_machine(*command),
            stdin=(_REMOTE / f"{script}.py").read_bytes(),
            timeout_seconds=_COUNT_SECONDS,
        )
        return said.splitlines()

    def command(self, role: str, container: str, options: list[str], arguments: list[str]) -> list[str]:
        """The command that runs a container of a role's image and settings on its machine."""
        project = f"--project-directory={_PROJECTS}/{role}"
        begin = ["docker", "compose", project, "run", "--no-deps", "--no-TTY", f"--name={container}"]
        return [*begin, *options, role, *arguments]

    def await_restart(self, service: Service, started_before: str | None) -> None:
        """Wait until a service runs that was started since."""
        _recovered(
            lambda: service.started_at() not in (None, started_before),
            f"{service.container} on {service.machine} was not started again",
        )

    def await_storing(self) -> None:
        """Wait until the processors store events."""
        last: int | None = None

        def grows() -> bool:
            nonlocal last
            now = self._stored_events()
            if now is None:
                return False
            growing = last is not None and now > last
            # A restarted processor counts from 0, so the sum may be less than before.
            last = now
            return growing

        _recovered(grows, "the processors stored nothing")

    @contextmanager
    def second_processor(self) -> Iterator[None]:
        """Another processor in the same group, on the same machine, until the end of the block."""
        second = Service(self.settings, self.processor.machine, _SECOND_PROCESSOR)
        options = ["--detach", f"--env=CONSUMER_INSTANCE_ID={_SECOND_PROCESSOR}"]
        shell.attempt(second.on_machine("docker", "rm", "--force", _SECOND_PROCESSOR))
        try:
            shell.run(second.on_machine(*self.command("processor", _SECOND_PROCESSOR, options, [])))
            second.docker("update", "--restart=unless-stopped", _SECOND_PROCESSOR)
            _recovered(second.healthy, "the second processor did not become healthy")
            self.processors.append(second)
            yield
        finally:
            self.processors = [self.processor]
            shell.attempt(second.on_machine("docker", "rm", "--force", _SECOND_PROCESSOR))

    def _stored_events(self) -> int | None:
        counts = [processor.stored_events() for processor in self.processors]
        return None if None in counts else sum(count for count in counts if count is not None)


def _recovered(condition: Callable[[], bool], failure: str) -> None:
    until(condition, failure, _RECOVERY_SECONDS, "see `make health`")
