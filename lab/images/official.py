"""Asks a registry what it has of an image, over HTTP only: no engine is needed."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from lab.images.reference import parse

ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)


def is_served(reference: str, timeout_seconds: float) -> bool:
    """True when the registry answers for this very tag; every failure counts as no."""
    try:
        with _ask("HEAD", parse(reference).manifest_url, timeout_seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        # URLError and HTTPError are OSErrors; a proxy's page instead of JSON is a ValueError.
        return False


def digest(reference: str, timeout_seconds: float) -> str:
    """The digest that the tag points to now."""
    with _ask("HEAD", parse(reference).manifest_url, timeout_seconds) as answer:
        found = answer.headers["Docker-Content-Digest"]
    if not found:
        raise ValueError(f"no digest for {reference}")
    return str(found)


def tags(reference: str, timeout_seconds: float) -> list[str]:
    """Every tag of the reference's repository."""
    found: list[str] = []
    url: str | None = parse(reference).tags_url
    while url:
        with _ask("GET", url, timeout_seconds) as answer:
            found += json.load(answer)["tags"]
            # A registry that lists them in pages names the next one.
            page = re.match(r'<([^>]+)>; *rel="?next', answer.headers.get("Link", ""))
        url = urllib.parse.urljoin(url, page[1]) if page else None
    return found


def _ask(method: str, url: str, timeout_seconds: float) -> Any:
    """The registry's answer, after a token where it wants one."""

    def send(headers: Mapping[str, str]) -> Any:
        request = urllib.request.Request(url, method=method, headers={"Accept": ACCEPT, **headers})
        return urllib.request.urlopen(request, timeout=timeout_seconds)

    try:
        return send({})
    except urllib.error.HTTPError as refusal:
        if refusal.code != 401:
            raise
        token = _anonymous_token(refusal.headers.get("WWW-Authenticate", ""), timeout_seconds)
        return send({"Authorization": f"Bearer {token}"})


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
