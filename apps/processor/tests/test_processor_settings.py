import pytest
from gpu_token_processor.settings import Settings, SettingsError, from_environment

REQUIRED = {"KAFKA_BOOTSTRAP": "kafka-1:9092", "MONGO_URL": "mongodb://mongo-1:27017/gpu_token"}


def test_defaults() -> None:
    settings = from_environment(REQUIRED)
    assert settings == Settings(kafka_bootstrap="kafka-1:9092", mongo_url=REQUIRED["MONGO_URL"])
    assert (settings.window_seconds, settings.price_per_hour_usd, settings.http_port) == (30, 0.85, 8080)
    assert settings.price_per_kwh_usd is None


def test_values_are_converted() -> None:
    settings = from_environment(
        REQUIRED | {"WINDOW_SECONDS": "60", "PRICE_PER_KWH_USD": "0.21", "HTTP_PORT": "9000"}
    )
    assert (settings.window_seconds, settings.price_per_kwh_usd, settings.http_port) == (60, 0.21, 9000)


def test_empty_is_absent() -> None:
    assert from_environment(REQUIRED | {"WINDOW_SECONDS": " ", "PRICE_PER_KWH_USD": ""}).window_seconds == 30


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KAFKA_BOOTSTRAP", "kafka-1"),
        ("MONGO_DATABASE", "a/b"),
        ("PRICE_PER_HOUR_USD", "nan"),
        ("PRICE_PER_HOUR_USD", "-1"),
        ("PRICE_PER_HOUR_USD", "inf"),
        ("PRICE_PER_KWH_USD", "cheap"),
        ("WINDOW_SECONDS", "0"),
        ("METRIC_GAP_SECONDS", "30s"),
        ("DLQ_MAX_SHARE", "1.5"),
        ("CONSUME_BATCH_EVENTS", "1.5"),
        ("HTTP_PORT", "80800"),
        ("LOG_LEVEL", "loud"),
        ("API_CONNECTIONS_PER_ADDRESS", "501"),
        ("API_STRANGER_REQUESTS_PER_SECOND", "0"),
        ("STOP_SECONDS", "1"),
    ],
)
def test_bad_value_is_one_sentence(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_environment(REQUIRED | {variable: value})
    sentence = str(caught.value)
    assert sentence.startswith(f"{variable} is '{value}': give ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_trusted_proxies_are_networks() -> None:
    assert from_environment(REQUIRED).trusted_proxies == ()
    settings = from_environment(REQUIRED | {"API_TRUSTED_PROXIES": "10.0.1.0/24, 10.0.2.7,2001:db8::/32"})
    assert [str(network) for network in settings.trusted_proxies] == [
        "10.0.1.0/24",
        "10.0.2.7/32",
        "2001:db8::/32",
    ]


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ("load-balancer", "'load-balancer', which is no network: give"),
        ("10.0.1.0/24,10.0.1.5/24", "'10.0.1.5/24', which is no network: give"),
        ("*", "'*', which is no network: give"),
        ("0.0.0.0/0", "'0.0.0.0/0', which is every address, so that anybody could name any: give"),
    ],
)
def test_what_is_no_network_of_proxies_is_named(networks: str, why: str) -> None:
    with pytest.raises(SettingsError, match=r"^API_TRUSTED_PROXIES holds .*\.$") as caught:
        from_environment(REQUIRED | {"API_TRUSTED_PROXIES": networks})
    assert why in str(caught.value)


@pytest.mark.parametrize("variable", sorted(REQUIRED))
def test_required(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is not set: give "):
        from_environment({name: value for name, value in REQUIRED.items() if name != variable})


@pytest.mark.parametrize("url", ["app:s3cret@mongo-1", "mongodb://app:s3cret@mongo-1"])
def test_a_password_in_the_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"MONGO_URL is not usable: .*MONGO_PASSWORD_FILE") as caught:
        from_environment(REQUIRED | {"MONGO_URL": url})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [2, 5, 28, 120])
def test_each_step_of_a_stop_has_its_share(seconds: float) -> None:
    settings = from_environment(REQUIRED | {"STOP_SECONDS": str(seconds)})
    assert settings.http_stop_seconds + settings.consumer_stop_seconds == seconds
    commit_seconds = settings.consumer_stop_seconds - settings.storing_stop_seconds
    assert settings.http_stop_seconds >= 1
    assert settings.storing_stop_seconds >= seconds / 3
    assert commit_seconds >= seconds / 6


def test_one_topic_for_both_is_refused() -> None:
    with pytest.raises(SettingsError, match="TOPIC_METRIC and TOPIC_TOKEN are both 'a'"):
        from_environment(REQUIRED | {"TOPIC_METRIC": "a", "TOPIC_TOKEN": "a"})
