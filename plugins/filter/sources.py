"""The producers' sources: which there are, and what the collector says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.gpu_token.pipeline.plugins.filter.checks import check, reason

Source = Mapping[str, Any]
Check = dict[str, Any]

FETCHED_TYPES = (
    "vllm",
    "sglang",
    "tgi",
    "nim",
    "llamacpp",
    "dcgm",
    "nvidia_smi",
    "nvidia_gpu_exporter",
    "prometheus",
)
RECEIVED_TYPES = ("openai_usage", "litellm", "otlp")
"""Others send these to the intake."""


def source_types(_: object = None) -> list[str]:
    """Every type that a source can have."""
    return [*FETCHED_TYPES, *RECEIVED_TYPES]


def received(sources: Sequence[Source]) -> list[str]:
    """The names of the sources that are received at the intake."""
    return [str(source.get("name")) for source in sources if source.get("type") in RECEIVED_TYPES]


def unlisted(found: Mapping[str, Any] | Sequence[Source], listed: Sequence[Source]) -> list[Source]:
    """The sources of `found` (a list, or what sources.yml holds) that no source of `listed` reads already.

    The inventory may name a source of its own for an engine, or for the machine's nvidia-smi: that one stays.
    """
    sources = found.get("sources", ()) if isinstance(found, Mapping) else found or ()
    names = {source.get("name") for source in listed}
    read = {(source.get("type"), source.get("target")) for source in listed}
    return [
        source
        for source in sources
        if source["name"] not in names and (source["type"], source.get("target")) not in read
    ]


def source_checks(status: Mapping[str, Any], sources: Sequence[Source]) -> list[Check]:
    """A record for each source, of the collector's status file as `slurp` read it, decoded.

    A source that is received may wait for its first event; one that is fetched must have answered.
    """
    if not sources:
        return []
    if "text" not in status:
        return [check(f"source {source['name']}", False, reason(status)) for source in sources]
    told = {found["name"]: found for found in json.loads(status["text"])["sources"]}
    return [_source_check(source, told.get(source["name"])) for source in sources]


def _source_check(source: Source, told: Mapping[str, Any] | None) -> Check:
    name = f"source {source['name']}"
    if told is None:
        return check(name, False, "the collector does not know it; run site.yml")
    if told["state"] == "failing":
        return check(name, False, f"{told['reason']} (since {told['since']})")
    if told["state"] == "waiting" and source["type"] not in RECEIVED_TYPES:
        return check(name, False, f"nothing was read yet (since {told['since']})")
    return check(name, True, f"{told['events']} events, {told['state']}")


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "received": received,
            "source_checks": source_checks,
            "source_types": source_types,
            "unlisted": unlisted,
        }
