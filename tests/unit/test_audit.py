"""scripts/audit.sh with the real pip-audit, held against a service that answers as OSV does."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Audit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def audit() -> Iterator[Audit]:
    """``audit.sh`` beside a service that reports the named packages."""
    reported: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": []}]
            known = {"vulns": [{"id": f"TEST-{name}", "summary": "made up", "affected": affected}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(known if name in reported else {}).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()

        def call(*names: str, **variables: str) -> subprocess.CompletedProcess[str]:
            reported.update(names)
            service = {
                "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
                "PIP_AUDIT_OSV_URL": f"http://127.0.0.1:{http.server_port}",
            }
            environment = {name: value for name, value in os.environ.items() if name != "AUDIT_REQUIRED"}
            return subprocess.run(
                ["scripts/audit.sh"], cwd=ROOT, env=environment | service | variables,
                text=True, capture_output=True, check=False, timeout=300,
            )  # fmt: skip

        yield call
        http.shutdown()


def test_a_service_that_knows_nothing_is_no_pass(audit: Audit) -> None:
    done = audit()
    assert done.returncode == 77
    assert done.stdout.startswith("not audited: the vulnerability service does not report django==3.0")


def test_an_audit_that_is_required_fails_where_no_service_answers(audit: Audit) -> None:
    done = audit(PIP_AUDIT_OSV_URL="http://127.0.0.1:1", AUDIT_REQUIRED="1")
    assert done.returncode == 1
    assert "Connection refused" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_service_that_knows_of_nothing_in_the_apps_is_a_pass(audit: Audit) -> None:
    done = audit("django", AUDIT_REQUIRED="1")
    assert done.returncode == 0, done.stderr
    assert "No known vulnerabilities found" in done.stderr


def test_what_the_service_reports_of_either_app_is_a_failure(audit: Audit) -> None:
    # Only the processor has the first, only the producers have the second.
    done = audit("django", "pymongo", "typer")
    assert done.returncode == 1
    assert "TEST-pymongo" in done.stdout
    assert "TEST-typer" in done.stdout
