"""Asks a registry whether it serves an image, over HTTP alone: no engine is needed."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from lab.images.reference import parse

ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)


def is_served(reference: str, timeout_seconds: float) -> bool:
    """True when the registry answers for this very tag; every failure counts as no."""
    url = parse(reference).manifest_url
    try:
        try:
            return _head(url, timeout_seconds, {})
        except urllib.error.HTTPError as refusal:
            if refusal.code != 401:
                return False
            token = _anonymous_token(refusal.headers.get("WWW-Authenticate", ""), timeout_seconds)
            return _head(url, timeout_seconds, {"Authorization": f"Bearer {token}"})
    except (OSError, ValueError):
        # URLError and HTTPError are OSErrors; a proxy's page in the place of JSON is a ValueError.
        return False


def _head(url: str, timeout_seconds: float, headers: Mapping[str, str]) -> bool:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": ACCEPT, **headers})
    with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
        return bool(answer.status == 200)


def _anonymous_token(challenge: str, timeout_seconds: float) -> str:
    """Follow a ``Bearer realm=…,service=…,scope=…`` challenge, as every pull without a login does."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.pop("realm", "")
    if not realm.startswith("https://"):
        raise ValueError(f"no token service in the challenge {challenge!r}")
    with urllib.request.urlopen(
        f"{realm}?{urllib.parse.urlencode(fields)}", timeout=timeout_seconds
    ) as answer:
        body = json.load(answer)
    token = (body.get("token") or body.get("access_token")) if isinstance(body, dict) else None
    if not token:
        raise ValueError(f"no token from {realm}")
    return str(token)
