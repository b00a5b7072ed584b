"""The operator's address: given, kept in terraform.tfvars, found, or refused with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "terraform" / "allowed_cidrs.py"


def run(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "allowed_cidrs.py"
    script.write_text(SCRIPT.read_text())
    environment = {name: value for name, value in os.environ.items() if name != "MY_IP_CIDR"} | settings
    return subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture
def service() -> Iterator[Callable[[str], str]]:
    """A what-is-my-address service that answers as it is told."""
    answer = ""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def say(text: str) -> str:
        nonlocal answer
        answer = text
        return f"http://127.0.0.1:{server.server_port}/"

    yield say
    server.shutdown()
    server.server_close()


def test_given(tmp_path: Path) -> None:
    assert run(tmp_path, MY_IP_CIDR="203.0.113.7/32").stdout == '["203.0.113.7/32"]\n'


@pytest.mark.parametrize("cidr", ["/32", "203.0.113.7/33", "::1/128", "office"])
def test_given_but_broken(tmp_path: Path, cidr: str) -> None:
    done = run(tmp_path, MY_IP_CIDR=cidr)
    assert done.returncode == 1
    assert "MY_IP_CIDR" in done.stderr
    assert cidr in done.stderr


def test_terraform_tfvars_keeps_its_word(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfvars").write_text('allowed_cidrs = ["198.51.100.0/24"]\n')
    done = run(tmp_path, CHECK_IP_URL="http://127.0.0.1:1/")
    assert (done.returncode, done.stdout) == (0, "")


def test_found(tmp_path: Path, service: Callable[[str], str]) -> None:
    assert run(tmp_path, CHECK_IP_URL=service("203.0.113.7\n")).stdout == '["203.0.113.7/32"]\n'


@pytest.mark.parametrize("answer", ["", "2001:db8::7", "<html>sign in</html>"])
def test_found_nothing_of_use(tmp_path: Path, service: Callable[[str], str], answer: str) -> None:
    done = run(tmp_path, CHECK_IP_URL=service(answer))
    assert done.returncode == 1
    assert "MY_IP_CIDR" in done.stderr


def test_nobody_answers(tmp_path: Path) -> None:
    done = run(tmp_path, CHECK_IP_URL="http://127.0.0.1:1/")
    assert done.returncode == 1
    assert "MY_IP_CIDR" in done.stderr
