"""The container's health check: `python -m gpu_token_processor.health`.

Uses nothing but Python, since slim images have no curl.
"""

import json
import os
import sys
import urllib.error
import urllib.request

_TIMEOUT_SECONDS = 4.0


def check(url: str) -> tuple[bool, str]:
    """Whether the processor is ready, and why not."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            body = response.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError as error:
        return False, f"{url} does not answer: {error}"
    try:
        answer = json.loads(body)
        return answer["status"] == "ok", "; ".join(answer["reasons"]) or answer["status"]
    except (ValueError, KeyError, TypeError):
        return False, f"{url} answers with something else than health"


def main() -> int:
    """Exit status 0 when ready, else 1."""
    ready, reason = check(f"http://127.0.0.1:{os.environ.get('HTTP_PORT') or 8080}/health/ready")
    print(reason)
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
