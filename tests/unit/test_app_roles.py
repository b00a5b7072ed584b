"""Settings and compose files of the processor and the producers, against what the apps themselves take."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from gpu_token_processor.settings import Settings, from_environment
from gpu_token_producers.cli import app as producers_app
from typer.main import get_command

from .role_files import ROLES, fleet_variables, render_service, role_variables

HOSTS: dict[str, dict[str, Any]] = {
    "kafka-2": {"private_ip_address": "10.0.1.11"},
    "kafka-1": {"private_ip_address": "10.0.1.10"},
    "mongo-1": {"private_ip_address": "10.0.1.20"},
}
SECRETS = {
    "api_token": "api-token-0123456789abcdef",
    "intake_token": "intake-token-0123456789abcdef",
    "kafka_processor_password": "kafka-processor-0123456789",
    "kafka_producers_password": "kafka-producers-0123456789",
    "mongo_processor_password": "mongo-processor-0123456789",
    "ca_certificate": "-----BEGIN CERTIFICATE-----\n",
}
VLLM = {"name": "chat", "type": "vllm", "target": "http://10.0.0.5:8000/metrics", "labels": {"host": "gpu-a"}}
GATEWAY = {"name": "gateway", "type": "litellm"}
DISCOVERED = {
    "producers_discover": True,
    "_producers_smi": {"rc": 0, "stdout": "GPU 0: NVIDIA H100"},
    "_producers_devices": {"files": [{"path": "/dev/nvidiactl"}, {"path": "/dev/nvidia0"}]},
    "_producers_libraries": {
        "stdout": "\tlibnvidia-ml.so.1 (libc6) => /usr/lib/i386-linux-gnu/libnvidia-ml.so.1\n"
        "\tlibnvidia-ml.so.1 (libc6,x86-64) => /usr/lib64/libnvidia-ml.so.1\n"
    },
    "_producers_discovered": [{"name": "smi", "type": "nvidia_smi"}],
}
# The container's port is fixed; the machine's is published by compose.
NOT_OURS = {"HTTP_HOST", "HTTP_PORT"}


def variables(role: str, **settings: Any) -> dict[str, Any]:
    """Variables that a play has on the role's first machine."""
    return {
        **fleet_variables(),
        "groups": {"kafka": ["kafka-2", "kafka-1"], "mongo": ["mongo-1"]},
        "kafka_machines": ["kafka-1", "kafka-2"],
        "hostvars": HOSTS,
        "inventory_hostname": f"{role}-1",
        "fleet_secrets": SECRETS,
        "app_image_reference": f"gpu-token/{role}:0123456789ab",
        **settings,
    }


def env(role: str, **settings: Any) -> dict[str, str]:
    """Render the settings and read them as compose would."""
    text = render_service("env.j2", role, variables(role, **settings), service_env=f"_{role}_settings")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value[1:-1] for name, value in (line.split("=", 1) for line in lines)}


def service(role: str, **settings: Any) -> dict[str, Any]:
    """Render and read the compose file's service."""
    text = render_service(
        "compose.yml.j2",
        role,
        variables(role, **settings),
        service_container=f"_{role}_container",
        service_uid=f"_{role}_uid",
        service_env=f"_{role}_settings",
        service_secrets=f"_{role}_secrets",
    )
    found: dict[str, Any] = yaml.safe_load(text)["services"][role]
    return found


def secrets(role: str, **settings: Any) -> dict[str, str]:
    """Content of the files that the container is given."""
    context = {**role_variables(role), **variables(role, **settings)}
    found: dict[str, str] = Templar(DataLoader(), variables=context).template(context[f"_{role}_secrets"])
    return found


def broken_rules(role: str, **settings: Any) -> list[str]:
    """What preflight would say."""
    context = {**role_variables(role), **variables(role, **settings)}
    rules = Templar(DataLoader(), variables=context).template(context[f"_{role}_setting_rules"])
    return [rule["otherwise"] for rule in rules if not rule["holds"]]


def test_processor_role_knows_every_setting_of_the_processor() -> None:
    fields = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert set(env("processor")) == fields - NOT_OURS


def test_processor_role_has_the_processors_defaults() -> None:
    rendered = from_environment(env("processor"))
    plain = Settings(
        kafka_bootstrap="10.0.1.10:9092,10.0.1.11:9092",
        mongo_url="mongodb://10.0.1.20:27017",
        consumer_instance_id="processor-1",
        api_access="token",
        api_token_file="/run/secrets/api-token",
        kafka_username="processor",
        kafka_password_file="/run/secrets/kafka-password",
        kafka_ca_file="/run/secrets/ca.pem",
        mongo_username="processor",
        mongo_password_file="/run/secrets/mongo-password",
        mongo_ca_file="/run/secrets/ca.pem",
        # Of fleet.yml; the role's own default is the app's.
        raw_retention_days=90,
    )
    assert rendered == plain


def test_processor_window_is_a_variable() -> None:
    assert from_environment(env("processor", processor_window_seconds=60)).window_seconds == 60


def test_the_processors_stop_timeout_moves_what_the_processor_does() -> None:
    patient = from_environment(env("processor", processor_stop_timeout_seconds=92))
    assert (patient.stop_seconds, patient.consumer_stop_seconds, patient.storing_stop_seconds) == (90, 81, 54)
    assert service("processor", processor_stop_timeout_seconds=92)["stop_grace_period"] == "92s"


def test_producers_role_sets_what_the_producers_read() -> None:
    commands = get_command(producers_app).commands  # type: ignore[attr-defined]
    options = [*commands["generate"].params, *commands["replay"].params]
    known = {option.envvar for option in options if option.envvar}
    assert set(env("producers")) - {"HEALTH_STALL_SECONDS"} <= known


@pytest.mark.parametrize("role", ["processor", "producers"])
def test_defaults_break_no_rule(role: str) -> None:
    assert broken_rules(role) == []


@pytest.mark.parametrize(
    ("role", "settings", "sentence"),
    [
        ("processor", {"groups": {"mongo": ["mongo-1"]}}, "processor_kafka_bootstrap is empty"),
        ("processor", {"groups": {"kafka": ["kafka-1"]}}, "processor_mongo_url is empty"),
        ("processor", {"processor_mongo_url": "mongodb://a:s3cret@b"}, "processor_mongo_url names a user"),
        ("processor", {"processor_kafka_password": ""}, "processor_kafka_password has 0 characters"),
        ("processor", {"processor_mongo_password": "short"}, "processor_mongo_password has 5 characters"),
        ("processor", {"processor_ca_certificate": ""}, "processor_ca_certificate is empty"),
        ("processor", {"processor_api_token": ""}, "processor_api_token has 0 characters"),
        ("processor", {"processor_api_token": "short"}, "processor_api_token has 5 characters"),
        ("processor", {"processor_api_requests_per_second": 0}, "processor_api_requests_per_second is 0"),
        (
            "processor",
            {"processor_api_stranger_requests_per_second": 0},
            "processor_api_stranger_requests_per_second is 0",
        ),
        (
            "processor",
            {"processor_api_connections_per_address": 501},
            "processor_api_connections_per_address is 501",
        ),
        (
            "processor",
            {"processor_api_trusted_proxies": ["10.0.1.0/24", "0.0.0.0/0", "lb"]},
            "processor_api_trusted_proxies holds 0.0.0.0/0, lb",
        ),
        ("processor", {"processor_source": "image"}, "processor_image is empty"),
        ("processor", {"processor_source": "git"}, "processor_git_ref is empty"),
        ("processor", {"processor_images_kept": 0}, "processor_images_kept is 0"),
        ("processor", {"processor_memory_share": 0.95}, "processor_memory_share is 0.95"),
        ("processor", {"processor_window_seconds": "0"}, "processor_window_seconds is 0"),
        ("processor", {"processor_price_per_hour_usd": -1}, "processor_price_per_hour_usd is -1"),
        (
            "processor",
            {"processor_catalog": "/no/file"},
            "processor_catalog is /no/file, which is no file on the",
        ),
        ("processor", {"processor_topic_metric": "token.usage.v1"}, "are both token.usage.v1"),
        ("processor", {"processor_mongo_database": "it's"}, "MONGO_DATABASE holds a single quote"),
        ("producers", {"groups": {}}, "producers_kafka_bootstrap is empty"),
        ("producers", {"producers_kafka_password": "short"}, "producers_kafka_password has 5 characters"),
        ("producers", {"producers_ca_certificate": ""}, "producers_ca_certificate is empty"),
        ("producers", {"producers_pairs_per_second": -0.5}, "producers_pairs_per_second is -0.5"),
        ("producers", {"producers_gpus": [{"uuid": "GPU-1"}, {"uuid": "GPU-1"}]}, "uuid twice (GPU-1"),
        ("producers", {"producers_sources": [{"type": "vllm"}]}, '{"type": "vllm"} without a name'),
        ("producers", {"producers_sources": [VLLM | {"name": "../up"}]}, "without a name that fits a file"),
        ("producers", {"producers_sources": [VLLM, VLLM]}, "has a name twice (chat, chat)"),
        (
            "producers",
            {"producers_sources": [VLLM | {"type": "ollama"}]},
            "has the type ollama; use one of vllm,",
        ),
        ("producers", {"producers_sources": [{"name": "chat"}]}, "has the type (none); use one of vllm,"),
        (
            "producers",
            {"producers_sources": [GATEWAY], "producers_intake_token": "short"},
            "producers_intake_token has 5 characters, and gateway of producers_sources is received",
        ),
        (
            "producers",
            {"producers_sources": [GATEWAY], "producers_intake_port": 80},
            "producers_intake_port is 80",
        ),
        ("producers", {"producers_source_tokens": {"other": "s3cret"}}, "names other, which is no source"),
        (
            "producers",
            {"producers_discover": True, "_producers_smi": {"rc": 2, "stdout": "", "stderr": ""}},
            "has no NVIDIA driver that works (/usr/bin/nvidia-smi -L cannot be run); install the driver,",
        ),
        (
            "producers",
            {
                "producers_sources": [{"name": "smi", "type": "nvidia_smi"}],
                "_producers_smi": {"rc": 9, "stdout": "NVIDIA-SMI has failed\nbecause", "stderr": ""},
            },
            "(/usr/bin/nvidia-smi -L said: NVIDIA-SMI has failed); install",
        ),
        ("producers", {"producers_teams": ["search", "a,b", ""]}, 'producers_teams has "a,b", ""; give each'),
    ],
)
def test_bad_setting_is_refused_with_a_sentence(role: str, settings: dict[str, Any], sentence: str) -> None:
    (said,) = broken_rules(role, **settings)
    assert sentence in said
    assert "s3cret" not in said
    assert "short" not in said


def test_own_gpus_are_read_from_a_file() -> None:
    assert env("producers")["GPU_SEED"] == ""
    gpu = {"uuid": "GPU-1", "name": "H100", "gpu_index": 0}
    assert env("producers", producers_gpus=[gpu])["GPU_SEED"] == "/data/gpus.json"


def test_teams_are_a_list_by_commas() -> None:
    assert env("producers")["TEAMS"] == ""
    assert env("producers", producers_teams=["search", "support"])["TEAMS"] == "search,support"


@pytest.mark.parametrize(
    ("role", "files"),
    [
        (
            "processor",
            {
                "api-token": "api_token",
                "kafka-password": "kafka_processor_password",
                "mongo-password": "mongo_processor_password",
                "ca.pem": "ca_certificate",
            },
        ),
        ("producers", {"kafka-password": "kafka_producers_password", "ca.pem": "ca_certificate"}),
    ],
)
def test_secrets_are_in_their_files_alone(role: str, files: dict[str, str]) -> None:
    assert secrets(role) == {file: SECRETS[secret] for file, secret in files.items()}
    named = {value for name, value in env(role).items() if name.endswith("_FILE") and value}
    assert named == {f"/run/secrets/{file}" for file in files}
    assert "./secrets:/run/secrets:ro" in service(role)["volumes"]
    shown = str(env(role)) + str(service(role))
    for secret in files.values():
        assert SECRETS[secret] not in shown
        other = service(role, fleet_secrets=SECRETS | {secret: "another-0123456789abcdef"})
        assert service(role)["labels"] != other["labels"], "another secret, another container"


def test_the_address_of_the_webhook_is_a_secret() -> None:
    url = "https://hooks.example.com/services/token"
    settings = {"processor_budget_webhook_url": url}
    assert secrets("processor", **settings)["budget-webhook-url"] == url
    assert env("processor", **settings)["BUDGET_WEBHOOK_URL_FILE"] == "/run/secrets/budget-webhook-url"
    assert url not in str(env("processor", **settings)) + str(service("processor", **settings))
    assert service("processor", **settings)["labels"] != service("processor")["labels"]
    assert broken_rules("processor", **settings) == []
    assert "budget-webhook-url" not in secrets("processor")


@pytest.mark.parametrize("url", ["hooks.example.com", "ftp://hooks.example.com", "https://", "https:// x"])
def test_what_is_no_address_of_a_webhook_is_refused_and_not_shown(url: str) -> None:
    (refusal,) = broken_rules("processor", processor_budget_webhook_url=url)
    assert refusal.startswith("processor_budget_webhook_url is no address (it is not shown); give one")


@pytest.mark.parametrize("parquet", [False, True])
def test_the_image_has_parquet_if_asked_for(parquet: bool) -> None:
    tasks = str(ROLES / "processor" / "tasks" / "converge.yml")
    (image,) = (
        task
        for task in DataLoader().load_from_file(tasks, trusted_as_template=True)
        if task["name"] == "Image"
    )
    context = {**role_variables("processor"), "processor_parquet": parquet}
    extras = Templar(DataLoader(), variables=context).template(image["vars"]["app_image_extras"])
    context = {
        **role_variables("app_image"),
        "role_path": "/role",
        "ansible_playbook_python": "python",
        "ansible_check_mode": False,
        "app_image_app": "processor",
        "app_image_base_image": "python:3.13",
        "app_image_extras": extras,
    }
    command = Templar(DataLoader(), variables=context).template(context["_app_image_context_command"])
    assert ("--extra=parquet" in command) == parquet


def test_an_open_api_needs_no_token() -> None:
    settings: dict[str, Any] = {"processor_api_access": "open", "processor_api_token": ""}
    assert broken_rules("processor", **settings) == []
    assert env("processor", **settings)["API_ACCESS"] == "open"
    assert env("processor", **settings)["API_TOKEN_FILE"] == ""
    assert "api-token" not in secrets("processor", **settings)


def test_a_processor_needs_no_catalogue() -> None:
    assert broken_rules("processor", processor_catalog="") == []


@pytest.mark.parametrize("role", ["processor", "producers"])
def test_container_is_confined(role: str) -> None:
    rendered = service(role)
    assert rendered["image"] == f"gpu-token/{role}:0123456789ab"
    assert rendered["user"] == "10001:10001"
    assert rendered["read_only"] is True
    assert rendered["cap_drop"] == ["ALL"]
    assert rendered["security_opt"] == ["no-new-privileges:true"]
    assert rendered["mem_limit"] == "512m"
    assert rendered["pids_limit"] == 256
    assert rendered["restart"] == "unless-stopped"
    assert "environment" not in rendered, "settings stand in .env alone"


@pytest.mark.parametrize("role", ["processor", "producers"])
def test_health_check_uses_what_the_image_has(role: str) -> None:
    test = service(role)["healthcheck"]["test"]
    assert test == ["CMD", "python", "-m", f"gpu_token_{role}.health"]


def test_api_port_is_the_fleets() -> None:
    assert service("processor")["ports"] == ["8080:8080"]
    assert service("processor", processor_port=9000)["ports"] == ["9000:8080"]


@pytest.mark.parametrize("role", ["processor", "producers"])
def test_addresses_come_from_the_inventory_alone(role: str) -> None:
    text = str(role_variables(role))
    assert "ansible_facts" not in text
    assert "ansible_default_ipv4" not in text


def sources_file(**settings: Any) -> Any:
    """What sources.yml says."""
    context = {**role_variables("producers"), **variables("producers", **settings)}
    return yaml.safe_load(
        str(Templar(DataLoader(), variables=context).template(context["_producers_sources_file"]))
    )


def test_without_sources_the_producers_generate() -> None:
    rendered = service("producers")
    assert "command" not in rendered
    assert "ports" not in rendered
    assert "network_mode" not in rendered
    assert "COLLECT_STATE_DIR" not in env("producers")
    assert set(rendered["labels"]) == {"gpu-token.secrets-sha256"}


def test_with_sources_the_producers_collect_from_them() -> None:
    rendered = service("producers", producers_sources=[VLLM])
    assert rendered["command"] == ["collect", "/etc/gpu-token/sources.yml"]
    assert "./config:/etc/gpu-token:ro" in rendered["volumes"]
    assert "/var/lib/gpu-token/producers/collect:/var/lib/gpu-token-producers" in rendered["volumes"]
    assert "ports" not in rendered, "nothing is received"
    assert env("producers", producers_sources=[VLLM])["COLLECT_STATE_DIR"] == "/var/lib/gpu-token-producers"
    assert sources_file(producers_sources=[VLLM]) == {"sources": [VLLM]}
    assert broken_rules("producers", producers_sources=[VLLM]) == []


def test_another_source_is_another_container_and_no_other_file() -> None:
    one, other = ([VLLM | {"interval_seconds": seconds}] for seconds in (15, 30))
    before, after = (service("producers", producers_sources=sources) for sources in (one, other))
    assert before.pop("labels")["gpu-token.sources-sha256"] != after.pop("labels")["gpu-token.sources-sha256"]
    assert before == after
    assert env("producers", producers_sources=one) == env("producers", producers_sources=other)
    assert secrets("producers", producers_sources=one) == secrets("producers", producers_sources=other)


def test_the_intake_is_open_where_a_source_is_received() -> None:
    settings: dict[str, Any] = {"producers_sources": [VLLM, GATEWAY]}
    assert service("producers", **settings)["ports"] == ["8088:8088"]
    assert service("producers", producers_intake_port=9000, **settings)["ports"] == ["9000:9000"]
    assert sources_file(**settings)["intake"] == {"port": 8088, "token_file": "/run/secrets/intake-token"}
    assert secrets("producers", **settings)["intake-token"] == SECRETS["intake_token"]
    assert SECRETS["intake_token"] not in str(service("producers", **settings)) + str(
        sources_file(**settings)
    )


def test_a_sources_token_is_a_file_of_its_own() -> None:
    settings: dict[str, Any] = {
        "producers_sources": [VLLM, GATEWAY],
        "producers_source_tokens": {"chat": "s3cret"},
    }
    assert secrets("producers", **settings)["source-chat"] == "s3cret"
    chat, gateway = sources_file(**settings)["sources"]
    assert chat == VLLM | {"token_file": "/run/secrets/source-chat"}
    assert gateway == GATEWAY
    assert "s3cret" not in str(sources_file(**settings)) + str(service("producers", **settings))
    other = service("producers", **settings | {"producers_source_tokens": {"chat": "another"}})
    assert service("producers", **settings)["labels"] != other["labels"], "another token, another container"


def test_a_gpu_hosts_container_gets_the_driver_and_the_machines_network() -> None:
    rendered = service("producers", **DISCOVERED)
    assert rendered["network_mode"] == "host"
    assert rendered["devices"] == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert "/usr/bin/nvidia-smi:/usr/bin/nvidia-smi:ro" in rendered["volumes"]
    assert (
        "/usr/lib64/libnvidia-ml.so.1:/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1:ro" in rendered["volumes"]
    )
    assert "pid" not in rendered
    assert "ports" not in service("producers", **DISCOVERED, producers_sources=[GATEWAY])
    assert sources_file(**DISCOVERED, producers_sources=[VLLM])["sources"] == [
        VLLM,
        {"name": "smi", "type": "nvidia_smi"},
    ]
    assert broken_rules("producers", **DISCOVERED) == []


def test_discovery_sees_the_machine_and_may_change_nothing() -> None:
    settings = {**DISCOVERED, "producers_deployments": {8000: "chat"}}
    context = {**role_variables("producers"), **variables("producers", **settings)}
    said = Templar(DataLoader(), variables=context).template(context["_producers_discovery"])
    assert said[said.index("gpu-token/producers:0123456789ab") + 1 :] == [
        "discover",
        "--host=producers-1",
        "--deployment=8000=chat",
    ]
    assert {"--pid=host", "--network=host", "--read-only", "--cap-drop=ALL"} <= set(said)
    assert "--device=/dev/nvidia0" in said
    assert "--privileged" not in said
    assert not [option for option in said if option.startswith("--volume") and not option.endswith(":ro")]
