"""The lab's AWS API: moto's server, with the parameters of SSM kept on disk.

moto keeps nothing when it ends. Machines are registered again from the containers that exist; secrets
have no such second source, and others in their place would lock the services out of their own data.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple
from werkzeug.test import EnvironBuilder, run_wsgi_app

from lab.ec2_server import PROGRAM, REGION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_TARGET = "AmazonSSM."


class KeptParameters:
    """A WSGI application around moto's; every parameter that is put or deleted is so in the file as well."""

    def __init__(self, app: WSGIApplication, file: Path) -> None:
        self._app = app
        self._file = file
        self._writing = threading.Lock()
        self._puts: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
        for put in self._puts.values():
            self._put_back(put)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on; note it if it changed a parameter."""
        call = environ.get("HTTP_X_AMZ_TARGET", "").removeprefix(_TARGET)
        if call not in ("PutParameter", "DeleteParameter", "DeleteParameters"):
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._writing:
            answer, status, headers = run_wsgi_app(self._app, environ, buffered=True)
            if status.startswith("200"):
                self._note(call, json.loads(body))
        start_response(status, list(headers))
        return answer

    def _note(self, call: str, request: dict[str, Any]) -> None:
        if call == "PutParameter":
            name = request["Name"]
            self._puts[name] = self._puts.get(name, {}) | request
        else:
            for name in request.get("Names") or [request["Name"]]:
                self._puts.pop(name, None)
        # Complete or not at all, and never readable by another user.
        new = self._file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(self._puts, file)
        new.replace(self._file)

    def _put_back(self, put: dict[str, Any]) -> None:
        request = EnvironBuilder(
            method="POST",
            headers=[
                ("X-Amz-Target", f"{_TARGET}PutParameter"),
                ("Authorization", f"AWS4-HMAC-SHA256 Credential=lab/20260101/{REGION}/ssm/aws4_request"),
            ],
            content_type="application/x-amz-json-1.1",
            data=json.dumps(put | {"Overwrite": False}),
        )
        _, status, _ = run_wsgi_app(self._app, request.get_environ(), buffered=True)
        if not status.startswith("200"):
            raise RuntimeError(f"{self._file}: the parameter {put['Name']} cannot be put back ({status})")


def main() -> None:
    """``python -m lab.aws_api PORT FILE``: serve on this computer's loopback address until told to stop."""
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    # The name by which it is found again.
    Path("/proc/self/comm").write_text(PROGRAM)
    app = KeptParameters(DomainDispatcherApplication(create_backend_app), file)
    run_simple("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
