"""sources.yml: what is read, and what the events of each source say besides."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.intake.source import IntakeType
from gpu_token_producers.sources.faults import sentences
from gpu_token_producers.sources.labels import Labels, Text
from gpu_token_producers.sources.yaml_file import read_yaml

EngineType = Literal["vllm", "sglang", "tgi", "nim", "llamacpp"]
ExporterType = Literal["dcgm", "nvidia_gpu_exporter"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _no_password(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username is not None or url.password is not None:
        raise ValueError("it has a user's name or password: put a token into a file and give token_file")
    return url


def _covers(seconds: float) -> float:
    if seconds > _MAX_GPU_INTERVAL_SECONDS:
        raise ValueError(
            f"give at most {_MAX_GPU_INTERVAL_SECONDS}: a reading covers the 30 seconds after it, and with "
            "longer gaps a GPU would cost less than it does"
        )
    return seconds


Target = Annotated[AnyHttpUrl, AfterValidator(_no_password), PlainSerializer(str)]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]
GpuSeconds = Annotated[float, Field(ge=0.1), AfterValidator(_covers)]

# Engines that do not say which model they have.
_NAMELESS = frozenset({"tgi", "llamacpp"})
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_DAYS = 3650
# A reading covers the 30 seconds after it.
_MAX_GPU_INTERVAL_SECONDS = 30


def duration(value: Any) -> Any:
    """A time span such as 30d, 12h, 15m or 20s, of ten years at most. Raises ValueError."""
    parts = re.fullmatch(r"([0-9]+)([dhms])", value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError("give a whole number with d, h, m or s, such as 30d")
    digits = parts[1].lstrip("0") or "0"
    # Python refuses to read thousands of digits.
    if len(digits) > 9 or int(digits) * _UNIT_SECONDS[parts[2]] > _MAX_DAYS * 86_400:
        raise ValueError(f"give at most {_MAX_DAYS}d")
    return timedelta(seconds=int(digits) * _UNIT_SECONDS[parts[2]])


Duration = Annotated[timedelta, BeforeValidator(duration)]


# What is said of token usage alone, and of readings alone.
_USAGE_LABELS = ("model", "models", "gpu_uuids", "tenant", "team", "workload", "tags")
_READING_LABELS = ("price_per_hour_usd",)


def _refuse_labels(labels: Labels, useless: Iterable[str], about: str, what: str) -> None:
    """Raises ValueError for a label that would do nothing."""
    if given := [name for name in useless if name in labels.model_fields_set]:
        raise ValueError(f"{about}.{given[0]} does nothing here, since it {what}")


_OF_READINGS = "is of GPU readings: remove it, and give it at the source of the GPUs"
_OF_USAGE = "is of tokens: remove it, and give it at the source of the engine or the gateway"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Part):
    name: Name
    labels: Labels = Labels()


class _OfUsage(_Source):
    """Tells of tokens."""

    @model_validator(mode="after")
    def _labels_are_of_usage(self) -> Self:
        _refuse_labels(self.labels, _READING_LABELS, "labels", _OF_READINGS)
        return self


class _OfGpus(_Source):
    """Tells of GPUs."""

    interval_seconds: GpuSeconds = 15
    # Which deployment each GPU serves, by its uuid.
    deployments: dict[Text, Text] = {}

    @model_validator(mode="after")
    def _labels_are_of_readings(self) -> Self:
        _refuse_labels(self.labels, _USAGE_LABELS, "labels", _OF_USAGE)
        return self


class _Fetched(_Source):
    """A source that is asked at intervals."""

    interval_seconds: Seconds = 15
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5


class _Asked(_Fetched):
    """A source that is asked over HTTP."""

    target: Target
    # A file with the bearer token that the target asks for.
    token_file: Path | None = None


class _Scraped(_Asked):
    @property
    def address(self) -> str:
        """host:port, by which a target is known: Prometheus calls it its instance."""
        return f"{self.target.host}:{self.target.port}"


class EngineSource(_OfUsage, _Scraped):
    """An inference engine's own counters."""

    type: EngineType
    # Its label instance in Prometheus, if that is not the target's host:port.
    instance: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @property
    def address(self) -> str:
        """By which the engine is known, whoever reads it."""
        return self.instance or super().address

    @model_validator(mode="after")
    def _model_is_known(self) -> "EngineSource":
        if self.type in _NAMELESS and self.labels.model is None:
            raise ValueError(
                f"labels.model is not given: a server of type {self.type} does not say which model it has"
            )
        return self


class GpuSource(_OfGpus, _Scraped):
    """An exporter of GPU readings."""

    type: ExporterType


class SmiSource(_OfGpus, _Fetched):
    """The program nvidia-smi on this machine."""

    type: Literal["nvidia_smi"]
    # It takes longer than an exporter to answer.
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10


class PrometheusSource(_Asked):
    """A Prometheus server that already has the engines' counters and the GPUs' readings."""

    type: Literal["prometheus"]
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 30
    reads: Annotated[tuple[Literal[EngineType, ExporterType], ...], Field(min_length=1)]
    # Label matchers of PromQL, without braces, such as job="vllm".
    match: str = ""
    # At most the interval at which the server itself scrapes: so that each of its samples is seen.
    step_seconds: Annotated[int, Field(ge=1, le=300)] = 15
    # How far back to read at the first start.
    since: Duration | None = None
    # What is known of single targets, by Prometheus' label instance.
    instances: dict[Text, Labels] = {}
    deployments: dict[Text, Text] = {}

    @model_validator(mode="after")
    def _labels_are_of_what_is_read(self) -> "PrometheusSource":
        gpus = set(get_args(ExporterType))
        all_labels = {"labels": self.labels} | {
            f"instances.{instance}": labels for instance, labels in self.instances.items()
        }
        for about, labels in all_labels.items():
            if not gpus.intersection(self.reads):
                _refuse_labels(labels, _READING_LABELS, about, _OF_READINGS)
            if gpus.issuperset(self.reads):
                _refuse_labels(labels, _USAGE_LABELS, about, _OF_USAGE)
        return self

    @model_validator(mode="after")
    def _models_are_known(self) -> "PrometheusSource":
        nameless = [kind for kind in self.reads if kind in _NAMELESS]
        if nameless and not any(each.model for each in (self.labels, *self.instances.values())):
            raise ValueError(
                f"labels.model is not given: a server of type {nameless[0]} does not say which model it has. "
                "If there are several, give instances: {'HOST:PORT': {model: NAME}}"
            )
        return self

    @field_validator("match")
    @classmethod
    def _no_braces(cls, match: str) -> str:
        if "{" in match or "}" in match:
            raise ValueError('give the matchers without braces, such as job="vllm"')
        return match


class IntakeSource(_OfUsage):
    """Something that sends: a gateway, an application, an OpenTelemetry exporter."""

    type: IntakeType


class Intake(_Part):
    """Where senders reach us."""

    port: Annotated[int, Field(ge=1, le=65535)] = 8088
    address: str = "0.0.0.0"
    token_file: Path


Source = Annotated[
    EngineSource | GpuSource | SmiSource | PrometheusSource | IntakeSource, Field(discriminator="type")
]


# The types that a source may have.
TYPES = sorted(
    kind
    for source in (EngineSource, GpuSource, SmiSource, PrometheusSource, IntakeSource)
    for kind in get_args(source.model_fields["type"].annotation)
)


class Sources(_Part):
    """The whole of sources.yml."""

    intake: Intake | None = None
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @property
    def received(self) -> list[IntakeSource]:
        """The sources that send to us."""
        return [source for source in self.sources if isinstance(source, IntakeSource)]

    @model_validator(mode="after")
    def _agree(self) -> "Sources":
        names = Counter(source.name for source in self.sources)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two sources are named {twice[0]}: give each a name of its own")
        # Two readers of one engine would count its tokens twice.
        for address in _twice(
            (each.address, each.type) for each in self.sources if isinstance(each, EngineSource)
        ):
            raise ValueError(
                f"two sources read the engine at {address[0]}: remove one, its tokens count once. If two "
                "engines answer there under two paths, give each its own instance"
            )
        for address in _twice(
            (each.address, each.type) for each in self.sources if isinstance(each, GpuSource)
        ):
            raise ValueError(
                f"two sources of type {address[1]} read {address[0]}: remove one. If two exporters answer "
                "there under two paths, give each its own port"
            )
        if len(smi := [each.name for each in self.sources if isinstance(each, SmiSource)]) > 1:
            raise ValueError(
                f"{smi[0]} and {smi[1]} both read nvidia-smi, which has all GPUs of this machine: remove one"
            )
        for target in _twice(
            (str(each.target), each.match, kind)
            for each in self.sources
            if isinstance(each, PrometheusSource)
            for kind in set(each.reads)
        ):
            raise ValueError(
                f"two sources read {target[2]} of the Prometheus server {target[0]} with the same match: "
                "remove one, or give each a match of its own"
            )
        if self.received and self.intake is None:
            raise ValueError(
                f"{self.received[0].name} is of type {self.received[0].type}, but intake is not given: "
                "give intake.token_file, and a port if 8088 is taken"
            )
        return self


def _twice(keys: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [key for key, count in Counter(keys).items() if count > 1]


def load_sources(path: Path, since: str | None = None) -> Sources:
    """The sources of a file; `since` is that of each Prometheus server that has none of its own.

    Raises ProducerError, with a sentence for each fault.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ProducerError(f"{path} has no key sources: list at least one under it.")
    if since is not None and isinstance(content.get("sources"), list):
        for source in content["sources"]:
            if isinstance(source, dict) and source.get("type") == "prometheus":
                source.setdefault("since", since)
    try:
        return Sources.model_validate(content)
    except ValidationError as error:
        raise ProducerError("\n".join(sentences(path, content, error, TYPES))) from None
