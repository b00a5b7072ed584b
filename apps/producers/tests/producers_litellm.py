"""LiteLLM's proxy from its own package, in an environment and a process of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from testing.parts import ROOT, once
from testing.processes import run
from testing.waiting import until

_REQUIREMENTS = ROOT / "testing" / "litellm-requirements.txt"
_KEY = "sk-of-the-proxy"

# Who asks, as the proxy's database of keys would say.
_AUTH = """
from litellm.proxy._types import UserAPIKeyAuth
async def user_api_key_auth(request, api_key: str) -> UserAPIKeyAuth:
    team = {"team_id": "team-1", "team_alias": "search"}
    return UserAPIKeyAuth(api_key=api_key, user_id="ann", org_id="acme", **team)
"""


def litellm_proxy() -> Path:
    """The command of an environment with LiteLLM. No package is built, so none runs code of its own."""

    def fetch(folder: Path) -> None:
        run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        target = ["--python", str(folder / "bin" / "python"), "--requirements", str(_REQUIREMENTS)]
        run(["uv", "pip", "install", "--quiet", "--no-build", "--require-hashes", *target])

    return once("litellm", [_REQUIREMENTS], fetch) / "bin" / "litellm"


@contextmanager
def proxy(
    folder: Path, models: Sequence[dict[str, Any]], callback: dict[str, Any], **settings: Any
) -> Iterator[httpx.Client]:
    """A running proxy that reports to `callback`; the client is one of its users."""
    (folder / "who.py").write_text(_AUTH)
    config = {
        "model_list": list(models),
        "litellm_settings": {
            "callbacks": ["gpu_token"],
            "cache": True,
            "cache_params": {"type": "local"},
            "telemetry": False,
            **settings,
        },
        "callback_settings": {"gpu_token": {"callback_type": "generic_api", **callback}},
        "general_settings": {"custom_auth": "who.user_api_key_auth", "disable_spend_logs": True},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LITELLM")},
        "DEFAULT_BATCH_SIZE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "PYTHONPATH": str(folder),
    }
    command = [litellm_proxy(), "--config", path, "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "proxy.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out) as process,
    ):
        try:
            base = f"http://127.0.0.1:{port}"
            with httpx.Client(
                base_url=base, timeout=60, headers={"Authorization": f"Bearer {_KEY}"}
            ) as client:
                until(lambda: _alive(client, process, log), "LiteLLM answers", 300)
                yield client
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _alive(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-3000:]
    try:
        return client.get("/health/liveliness").status_code == 200
    except httpx.TransportError:
        return False
