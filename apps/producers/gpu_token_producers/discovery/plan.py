"""What sources.yml says of this machine: its GPUs, who serves what on them, and where that is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gpu_token_producers.discovery.gpus import GpuUse, cards, uses
from gpu_token_producers.discovery.probe import Engine, Exporter, engine_at, exporter_at
from gpu_token_producers.discovery.processes import (
    Listener,
    circles,
    listeners,
    ports_by_option,
    published_ports,
)
from gpu_token_producers.sources.gpus.nvidia_smi_command import COMMAND

# Where vLLM and NIM, SGLang, TGI and llama.cpp listen unless told otherwise. Other ports are asked only where
# something points to them: a stranger's request can upset what GPUs talk to each other by.
ENGINE_PORTS = frozenset({8000, 30000, 80, 3000, 8080})
EXPORTER_PORTS = (9400, 9835)


class Found(NamedTuple):
    """The sources, as they stand in sources.yml, and what the user should know beside them."""

    sources: list[dict[str, Any]]
    notices: list[str]


@dataclass(slots=True)
class _Serving:
    """An engine at a port, and the GPUs that its processes use."""

    engine: Engine
    listener: Listener
    gpus: set[str] = field(default_factory=set)


class _Look:
    """One look at the machine; asks each port at most once."""

    def __init__(self, ports: Collection[int]) -> None:
        self._asked_for = frozenset(ports)
        self._listening = {listener.port: listener for listener in listeners()}
        self._asked: dict[int, Engine | None] = {}
        self.serving: dict[int, _Serving] = {}

    def engines_of(self, pids: Collection[int]) -> list[_Serving]:
        """The engines at ports of these processes."""
        usual = ENGINE_PORTS | self._asked_for | ports_by_option(pids)
        own = {
            listener.port
            for listener in self._listening.values()
            if listener.pid in pids and listener.port in usual
        }
        return self._ask(own | published_ports(pids))

    def others(self) -> list[_Serving]:
        """The engines at the usual ports that belong to no process with a GPU."""
        rest = (ENGINE_PORTS | self._asked_for) - set(self.serving)
        return self._ask(rest)

    def exporters(self) -> list[tuple[Listener, Exporter]]:
        """The exporters of GPUs at their usual ports."""
        found = []
        for port in EXPORTER_PORTS:
            listener = self._listening.get(port)
            exporter = exporter_at(_base(listener)) if listener is not None else None
            if listener is not None and exporter is not None:
                found.append((listener, exporter))
        return found

    def _ask(self, ports: Collection[int]) -> list[_Serving]:
        found = []
        for port in sorted(ports):
            listener = self._listening.get(port)
            if listener is None:
                continue
            if port not in self._asked:
                engine = self._asked[port] = engine_at(_base(listener))
                if engine is not None:
                    self.serving[port] = _Serving(engine, listener)
            if port in self.serving:
                found.append(self.serving[port])
        return found


def discover(
    host: str,
    address: str = "127.0.0.1",
    names: Mapping[int, str] | None = None,
    ports: Collection[int] = (),
    command: Sequence[str] = COMMAND,
) -> Found:
    """The sources of this machine, which events call `host`.

    `address` is where the collector reaches it. `names` are deployments by an engine's port, else
    <host>:<port>; engines that share a GPU are one deployment. `ports` are asked besides the usual ones.
    Raises NoDriver without an NVIDIA driver or GPU.
    """
    known = cards(command)
    look = _Look(ports)
    exporters = look.exporters()
    reported = {reading.uuid for _, exporter in exporters[:1] for reading in exporter.readings}
    notices = _attribute(uses(command), reported, look)
    for other in look.others():
        notices.append(
            f"{other.engine.type} at port {other.listener.port} uses no GPU that nvidia-smi shows: its "
            "tokens have no cost until a catalogue names its GPUs. Run this as root, outside of a container."
        )
    notices += _without_model(look)
    deployments = _deployments(list(look.serving.values()), host, names or {}, notices)
    sources = [
        _engine_source(serving, deployments[port], host, address)
        for port, serving in sorted(look.serving.items())
    ]
    by_gpu = {
        gpu: deployments[port] for port, serving in look.serving.items() for gpu in sorted(serving.gpus)
    }
    sources.append(_gpu_source(exporters, by_gpu, host, address))
    if exporters:
        watched = {uuid for uuid in reported if uuid is not None}
        for card in known:
            if card not in watched and not any(uuid.startswith(f"MIG-{card}:") for uuid in watched):
                notices.append(f"The {exporters[0][1].type} exporter does not report {card}.")
    return Found(sources, notices)


def _attribute(found: Sequence[GpuUse], reported: Collection[str | None], look: _Look) -> list[str]:
    """Give each engine the GPUs of its processes; returns what could not be told."""
    notices: dict[str, None] = {}
    for use in found:
        gpus = [uuid for uuid in use.slices if uuid in reported] or [use.card]
        for pids in circles(use.pid):
            engines = look.engines_of(pids)
            if len(engines) == 1:
                engines[0].gpus.update(gpus)
            elif engines:
                which = " and ".join(str(engine.listener.port) for engine in engines)
                notices[
                    f"{use.card} is used by process {use.pid} ({use.process_name}), which may belong to the "
                    f"engines at ports {which}: name the one in the catalogue."
                ] = None
            if engines:
                break
        else:
            notices[
                f"{use.card} is used by process {use.pid} ({use.process_name}), and none of its ports "
                "answers as an engine: if it is one, give its port by --port."
            ] = None
    return list(notices)


def _without_model(look: _Look) -> list[str]:
    return [
        f"{serving.engine.type} at port {port} does not say which model it serves: write labels.model."
        for port, serving in look.serving.items()
        if serving.engine.type in ("tgi", "llamacpp") and serving.engine.model is None
    ]


def _deployments(
    serving: Sequence[_Serving], host: str, names: Mapping[int, str], notices: list[str]
) -> dict[int, str]:
    """The deployment of each engine, by its port. Engines that share a GPU cost as one."""
    groups: list[tuple[set[int], set[str]]] = []
    for engine in serving:
        ports, gpus = {engine.listener.port}, set(engine.gpus)
        apart = []
        for group in groups:
            if group[1] & gpus:
                ports |= group[0]
                gpus |= group[1]
            else:
                apart.append(group)
        groups = [*apart, (ports, gpus)]
    found = {}
    for ports, _ in groups:
        given = sorted({names[port] for port in ports if port in names})
        name = given[0] if given else f"{host}:{min(ports)}"
        if len(given) > 1:
            notices.append(
                f"The engines at ports {', '.join(map(str, sorted(ports)))} share GPUs and so are one "
                f"deployment: it is called {name}, not {' or '.join(given[1:])}."
            )
        found.update(dict.fromkeys(ports, name))
    return found


def _engine_source(serving: _Serving, deployment: str, host: str, address: str) -> dict[str, Any]:
    labels: dict[str, Any] = {"host": host, "deployment": deployment}
    if serving.engine.model is not None:
        labels["model"] = serving.engine.model
    if serving.gpus:
        labels["gpu_uuids"] = sorted(serving.gpus)
    return {
        "name": f"{serving.engine.type}-{serving.listener.port}",
        "type": serving.engine.type,
        "target": _base(serving.listener, address) + serving.engine.path,
        "labels": labels,
    }


def _gpu_source(
    exporters: Sequence[tuple[Listener, Exporter]], by_gpu: Mapping[str, str], host: str, address: str
) -> dict[str, Any]:
    """One source of readings, since a GPU that two sources report may have two names."""
    source: dict[str, Any] = {"name": "gpus", "type": "nvidia_smi"}
    if exporters:
        listener, exporter = exporters[0]
        source |= {"type": exporter.type, "target": f"{_base(listener, address)}/metrics"}
    source["labels"] = {"host": host}
    if by_gpu:
        source["deployments"] = dict(sorted(by_gpu.items()))
    return source


def _base(listener: Listener, address: str | None = None) -> str:
    """How to reach the listener: from `address` where it listens on all, else where it does listen."""
    where = address if address is not None and listener.everywhere else listener.address
    return f"http://{where}:{listener.port}"
