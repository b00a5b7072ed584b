"""Settings from the environment, checked before anything starts."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from gpu_token_contracts import TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE, bounds, require_two_topics
from gpu_token_contracts.login import SettingsError as SettingsError
from msgspec import Meta

from gpu_token_processor.retention import Retention

NonEmpty = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Usd = Annotated[float, Meta(ge=0, le=100_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
# Of all addresses. Fewer requests are answered at once (api/limits.py); an idle one takes little memory.
HTTP_CONNECTIONS = 500
# What a login is made of; see gpu_token_contracts/login.py.
Name = Annotated[NonEmpty, Meta(description="the user's name")] | None
File = Annotated[NonEmpty, Meta(description="the path of a file")] | None


class MongoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where MongoDB is and how to log in to it."""

    mongo_url: Annotated[
        str,
        Meta(
            pattern=r"^mongodb(\+srv)?://[^\s@]+$",
            description="a mongodb:// address, the login apart from it (MONGO_USERNAME, MONGO_PASSWORD_FILE)",
        ),
    ]
    mongo_username: Name = None
    mongo_password_file: File = None
    mongo_ca_file: File = None
    mongo_database: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{1,63}$", description="letters, digits, _ and -, at most 63")
    ] = "gpu_token"


class RollupSettings(MongoSettings, frozen=True, kw_only=True):
    """And what hours are counted by."""

    metric_gap_seconds: Annotated[
        Seconds,
        Meta(description="seconds that one GPU reading holds without a next, more than 0, at most 86400"),
    ] = 30

    raw_retention_days: Annotated[
        int,
        Meta(ge=4, le=36_500, description="days that the store keeps events, by their own time, 4 to 36500"),
    ] = 3_650

    @property
    def metric_gap_us(self) -> int:
        """The gap in microseconds."""
        return round(self.metric_gap_seconds * 1_000_000)

    @property
    def retention(self) -> Retention:
        """What follows from both."""
        return Retention(self.raw_retention_days, timedelta(seconds=self.metric_gap_seconds))


class ClosingSettings(RollupSettings, frozen=True, kw_only=True):
    """And what hours cost by default."""

    price_per_hour_usd: Annotated[
        Usd,
        Meta(description="USD for one GPU hour where neither event nor catalogue has a price, 0 to 100000"),
    ] = 0.85


class Settings(ClosingSettings, frozen=True, kw_only=True):
    """Every setting of the processor; each is the environment variable of the same name in capitals."""

    kafka_bootstrap: Annotated[
        str,
        Meta(pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$", description="host:port of each broker, by commas"),
    ]
    kafka_username: Name = None
    kafka_password_file: File = None
    kafka_ca_file: File = None

    topic_metric: Annotated[NonEmpty, Meta(description="the topic of GPU metrics")] = TOPIC_GPU_METRICS
    topic_token: Annotated[NonEmpty, Meta(description="the topic of token usage")] = TOPIC_TOKEN_USAGE
    consumer_group: Annotated[NonEmpty, Meta(description="the group that processors share")] = (
        "gpu-token-processor"
    )
    consumer_instance_id: (
        Annotated[
            str, Meta(description="a name that no other processor has, for a restart without rebalance")
        ]
        | None
    ) = None
    consume_batch_events: Annotated[Count, Meta(description="events of one write, at least 1")] = 1_000
    consume_linger_seconds: Annotated[
        float, Meta(ge=0.001, le=5, description="seconds to wait for a batch to fill, 0.001 to 5")
    ] = 0.05

    price_per_kwh_usd: Annotated[Usd, Meta(description="USD for one kWh, 0 to 100000")] | None = None
    window_seconds: Annotated[
        Seconds, Meta(description="seconds of event time, more than 0, at most 86400")
    ] = 30
    event_max_ahead_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="seconds that an event may lie in the future, 0 to 86400")
    ] = bounds.MAX_AHEAD_SECONDS

    dlq_max_consecutive: Annotated[
        Count, Meta(description="refused events of a topic in a row before the processor stops, at least 1")
    ] = 1_000
    dlq_max_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="share of refused events before the processor stops, more than 0, at most 1",
        ),
    ] = 0.5
    dlq_window_events: Annotated[
        Count, Meta(description="latest events of a topic that the share is taken of, at least 1")
    ] = 5_000

    api_access: Annotated[
        str,
        Meta(pattern="^(token|open)$", description="token, or open to let everybody in reach ask"),
    ] = "token"
    api_token_file: (
        Annotated[NonEmpty, Meta(description="the path of a file that holds the API's token")] | None
    ) = None
    api_requests_per_second: Annotated[
        Count, Meta(description="requests of one address that may ask, a second, at least 1")
    ] = 100
    api_stranger_requests_per_second: Annotated[
        Count, Meta(description="requests of one address without the token, a second, at least 1")
    ] = 20
    api_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=HTTP_CONNECTIONS, description=f"connections of one address, 1 to {HTTP_CONNECTIONS}"),
    ] = 100
    api_trusted_proxies: Annotated[
        str, Meta(description="networks of proxies, such as 10.0.1.0/24, by commas")
    ] = ""
    budget_webhook_url_file: (
        Annotated[NonEmpty, Meta(description="the path of a file that holds the address of a webhook")] | None
    ) = None
    http_host: Annotated[NonEmpty, Meta(description="the address to listen on")] = "0.0.0.0"
    http_port: Annotated[int, Meta(ge=1, le=65_535, description="a port, 1 to 65535")] = 8080
    log_level: Annotated[
        str, Meta(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR")
    ] = "INFO"

    stop_seconds: Annotated[
        float, Meta(ge=2, le=86_400, description="seconds from the signal to the end, 2 to 86400")
    ] = 28

    @property
    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Raises SettingsError for what is no network, and for one of all addresses."""
        texts = [text.strip() for text in self.api_trusted_proxies.split(",")]
        return tuple(_network(text) for text in texts if text)

    # At a stop, requests end first, then the batches in hand are stored, then their offsets are
    # committed. Each step gets its share of the time, so that the last one always has some left.

    @property
    def http_stop_seconds(self) -> int:
        """What requests in hand may take; in whole seconds, as Uvicorn wants it."""
        return max(1, int(self.stop_seconds / 10))

    @property
    def consumer_stop_seconds(self) -> float:
        """What the consumer may take after that, storing and committing included."""
        return self.stop_seconds - self.http_stop_seconds

    @property
    def storing_stop_seconds(self) -> float:
        """What the consumer may take of it to store the batches in hand."""
        return self.consumer_stop_seconds * 2 / 3


T = TypeVar("T", bound=MongoSettings)

# Never shown when wrong: it may hold a password.
_SECRET = frozenset({"mongo_url"})


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings; a variable that is absent or empty takes its default."""
    settings = _read(Settings, environment)
    require_two_topics(settings.topic_metric, settings.topic_token)
    _ = settings.trusted_proxies
    return settings


def mongo_from_environment(environment: Mapping[str, str]) -> MongoSettings:
    """Only the settings of MongoDB, likewise."""
    return _read(MongoSettings, environment)


def rollups_from_environment(environment: Mapping[str, str]) -> RollupSettings:
    """Only what the command rollup needs, likewise."""
    return _read(RollupSettings, environment)


def closings_from_environment(environment: Mapping[str, str]) -> ClosingSettings:
    """Only what the command close needs, likewise."""
    return _read(ClosingSettings, environment)


def within_bounds(field: str, value: float, name: str) -> float:
    """What a caller gives in the place of a setting, by a name of its own. Raises SettingsError."""
    hint = get_type_hints(Settings, include_extras=True)[field]
    return float(_convert(name, value, hint, secret=False))


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError:
        network = None
    if network is None or not network.prefixlen:
        raise SettingsError(
            f"API_TRUSTED_PROXIES holds {text!r}, which "
            + ("is no network" if network is None else "is every address, so that anybody could name any")
            + ": give the networks of your proxies, such as 10.0.1.0/24, by commas."
        )
    return network


def _read(kind: type[T], environment: Mapping[str, str]) -> T:
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        variable = field.name.upper()
        text = environment.get(variable, "").strip()
        hint = hints[field.name]
        if text:
            values[field.name] = _convert(variable, text, hint, secret=field.name in _SECRET)
        elif field.required:
            raise SettingsError(f"{variable} is not set: give {_description(hint)}.")
    return kind(**values)


def _convert(variable: str, given: str | float, hint: Any, *, secret: bool) -> Any:
    try:
        value = msgspec.convert(given, hint, strict=False)
    except msgspec.ValidationError:
        value = None
    if value is None or value != value:
        shown = "not usable" if secret else repr(given)
        raise SettingsError(f"{variable} is {shown}: give {_description(hint)}.") from None
    return value


def _description(hint: Any) -> str:
    """The innermost Meta that has a description; `Annotated[X, Meta] | None` is looked into."""
    for meta in reversed(getattr(hint, "__metadata__", ())):
        if meta.description:
            return str(meta.description)
    for part in getattr(hint, "__args__", ()):
        if found := _description(part):
            return found
    return ""
