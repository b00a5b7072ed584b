"""The processor as the container runs it: a process of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Self
from urllib.parse import urlencode

from lab.ports import free_port

_START_SECONDS = 30


def run(module: str, **settings: str) -> subprocess.Popen[str]:
    """Start a module with these environment variables."""
    environment = {**os.environ, "HTTP_HOST": "127.0.0.1", "API_ACCESS": "open", **settings}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Process:
    """A processor that serves HTTP."""

    def __init__(self, token: str = "", **settings: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = f"http://127.0.0.1:{free_port()}"
        self.popen = run("gpu_token_processor", HTTP_PORT=self.url.rsplit(":", 1)[1], **settings)
        deadline = time.monotonic() + _START_SECONDS
        while self.status("/health/live") != 200:
            assert time.monotonic() < deadline, "HTTP must serve at once"
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.communicate()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            request = urllib.request.Request(self.url + path, headers=self._headers)
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self, path: str) -> int:
        """0 when it does not answer."""
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def answer(self, path: str, **parameters: str) -> Any:
        """The JSON of an answer, whatever its status."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return json.loads(self.get(path + query)[1])
