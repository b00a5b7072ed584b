"""Records of checks, ``{name, passed, detail}``, made of what tasks have registered.

A task that failed gives a record as well: the check did not pass, and the detail is what the task said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
Check = dict[str, Any]

TOKENS = ("prompt_tokens", "completion_tokens")
MIB, GIB = 2**20, 2**30
# A service whose disk is full stops, so it fails its checks before that.
NEARLY_FULL_PERCENT, FULL_PERCENT = 80, 95
NOTHING = {"stored": 0, "distinct": 0, **dict.fromkeys(TOKENS, 0)}


def check(name: str, passed: bool, detail: object) -> Check:
    """One record."""
    return {"name": name, "passed": passed, "detail": str(detail)}


def reason(result: Result) -> str:
    """What a task that failed said, in one line."""
    said = str(result.get("msg") or result.get("stderr") or "no reason given").strip()
    return said.splitlines()[0]


def knock_checks(registered: Result) -> list[Check]:
    """Of a loop of wait_for over `knocks`."""
    checks = []
    for result in registered.get("results", ()):
        if result.get("skipped"):
            continue
        open_ = result.get("state") == "started"
        checks.append(
            check(result["item"]["name"], open_, result["item"]["detail"] if open_ else reason(result))
        )
    return checks


def container_checks(inspected: Result, wanted_image: Result, user: Result, container: str) -> list[Check]:
    """Of `docker inspect`, of the image that the compose file names, and of `id -u` inside the container."""
    found = json.loads(inspected.get("stdout") or "[]")
    if not found:
        absent = f"There is no container {container}; run site.yml."
        return [check(f"container {what}", False, absent) for what in ("healthy", "image", "user")]
    state, image = found[0]["State"], found[0]["Config"]["Image"]
    health = (state.get("Health") or {}).get("Status", "no health check")
    uid = str(user.get("stdout", "")).strip()
    wanted = str(wanted_image.get("stdout", "")).strip()
    return [
        check(
            "container healthy",
            (state["Status"], health) == ("running", "healthy"),
            f"{container} {state['Status']}, {health}",
        ),
        check("container image", image == wanted, image if image == wanted else f"{image}, and not {wanted}"),
        check(
            "container user",
            uid not in ("", "0"),
            f"uid {uid}" if uid else reason({"msg": user.get("stderr") or user.get("msg")}),
        ),
    ]


def _size_and_free(df: Result) -> tuple[int, int] | None:
    """What `df --block-size=1 --output=size,avail` said, if it could."""
    lines = str(df.get("stdout", "")).splitlines()
    if df.get("rc") != 0 or len(lines) < 2:
        return None
    size, free = map(int, lines[1].split())
    return size, free


def has_room(df: Result, mib: int) -> bool:
    """Of the same: whether so much is free, or it is not known."""
    found = _size_and_free(df)
    return found is None or found[1] >= mib * MIB


def disk_check(df: Result, directory: str) -> Check:
    """Of `df --block-size=1 --output=size,avail` of a directory on the disk: how full that is."""
    found = _size_and_free(df)
    if found is None:
        return check(
            "free space", False, f"df {directory}: {reason({'msg': df.get('stderr') or df.get('msg')})}"
        )
    size, free = found
    percent = 100 * (size - free) // size
    detail = (
        f"{percent} % of the {size / GIB:.1f} GiB under {directory} are used, {free / GIB:.1f} GiB are free"
    )
    remedy = "raise data_disk_gib in fleet.yml, or keep events for less long (docs/sizing.md)"
    if percent >= FULL_PERCENT:
        detail = f"Full: {detail}, and {FULL_PERCENT} % is the limit: {remedy}."
    elif percent >= NEARLY_FULL_PERCENT:
        detail = f"Nearly full: {detail}, and {FULL_PERCENT} % is the limit: {remedy}."
    return check("free space", percent < FULL_PERCENT, detail)


def topic_checks(compared: Result, topics: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Of a dry run of kafka_topics: what it would change, and which partitions are unwell, by topic."""
    checks = []
    for topic in topics:
        name = re.compile(rf"(?<![\w.-]){re.escape(topic['name'])}(?![\w.-])")
        if "actions" in compared:
            wrong = [said for said in [*compared["actions"], *compared["unhealthy"]] if name.search(said)]
        else:
            wrong = [reason(compared)]
        hours = topic.get("retention_hours") or "the default"
        right = f"{topic['partitions']} partitions, {hours} h"
        checks.append(check(f"topic {topic['name']}", not wrong, "; ".join(wrong) or right))
    return checks


def plan_check(compared: Result, name: str, present: str) -> Check:
    """Of a dry run of a module that lists its actions: there must be none."""
    actions = compared.get("actions", [reason(compared)])
    return check(name, not actions, "; ".join(actions) or present)


def write_check(written: Result) -> Check:
    """Of mongodb_write_check."""
    passed = "written" in written
    return check("writes", passed, "the store takes them" if passed else reason(written))


def catalog_checks(applied: Result) -> list[Check]:
    """Of a dry run of gpu-token-catalog, where there is a catalogue to apply."""
    if applied.get("skipped"):
        return []
    if applied.get("rc") != 0:
        return [
            check("catalogue", False, reason({**applied, "msg": applied.get("stderr") or applied.get("msg")}))
        ]
    told = json.loads(applied["stdout"])
    return [plan_check(told, "catalogue", f"version {told['version']}")]


def consumed_checks(consumed: Result, dead_letters_allowed: bool) -> list[Check]:
    """Of kafka_consumed, where it was asked."""
    if consumed.get("skipped"):
        return []
    if "dead_letters" not in consumed:
        return [check(name, False, reason(consumed)) for name in ("consumer lag", "dead letters")]
    behind, letters = consumed["behind"], consumed["dead_letters"]
    said = "unknown" if behind is None else behind
    return [
        check("consumer lag", behind == 0, f"{said} events behind in group {consumed['group']}"),
        check("dead letters", letters == 0 or dead_letters_allowed, f"{letters} since {consumed['since']}"),
    ]


def api_checks(health: Result, gpus: Result, stranger: Result, access: str) -> list[Check]:
    """From three answers of the API: its health, its GPUs with the token, and its GPUs without the token."""
    well = (health.get("json") or {}).get("status") == "ok"
    reasons = " ".join((health.get("json") or {}).get("reasons") or []) or reason(health)
    told = gpus.get("json") or {}
    listed = gpus.get("status") == 200
    refused = stranger.get("status")
    return [
        check("API health", well, "consumer, Kafka and MongoDB are well" if well else reasons),
        check(
            "API GPUs",
            listed,
            f"{len(told['items'])} GPUs have reported" if listed else told.get("detail") or reason(gpus),
        ),
        check(
            "API access",
            refused == (401 if access == "token" else 200),
            f"{refused} without the token, and processor_api_access is {access}",
        ),
    ]


def login_checks(registered: Result) -> list[Check]:
    """Of a loop of anonymous_access over `logins`."""
    checks = []
    for result in registered["results"]:
        said = [result.get("plaintext"), result.get("tls")]
        detail = f"without TLS {said[0]}, with it {said[1]}" if said[1] else reason(result)
        checks.append(
            check(f"{result['item']['machine']} refuses who does not log in", said == ["refused"] * 2, detail)
        )
    return checks


def replay_checks(report: Mapping[str, Any]) -> list[Check]:
    """Of the producers' report of a replay, if there was one: something was sent, and all of it delivered."""
    if not report:
        return []
    lost = report["failed"] + report["gpu_metrics_failed"] + report["unflushed"]
    detail = (
        f"{report['run']}: {report['delivered']} of {report['sent']} requests and "
        f"{report['gpu_metrics_delivered']} of {report['gpu_metrics_sent']} GPU metrics delivered, "
        f"{report['skipped']} rows skipped"
    )
    return [check("replay sent", report["sent"] > 0 and lost == 0, detail)]


def sent_checks(sent: Result, marker: str, events: int) -> list[Check]:
    """Of the container that sends marked events, where any were to be sent."""
    if sent.get("skipped"):
        return []
    if sent.get("rc") == 0:
        return [check("round trip sent", True, f"{events} marked {marker}")]
    lines = [line for line in sent.get("stderr_lines", ()) if not re.match(r" *Container ", line)]
    return [check("round trip sent", False, f"could not be sent: {' '.join(lines) or reason(sent)}")]


def usage_pipeline(query: Mapping[str, str]) -> list[dict[str, Any]]:
    """An aggregation that adds up the events of a host or of a model, from `start` to before `end`.

    An event is known by its id; one without it, by where it stood in Kafka.
    """
    match: dict[str, Any] = {name: query[name] for name in ("host", "model") if name in query}
    if "start" in query:
        match["ts"] = {"$gte": {"$date": query["start"]}, "$lt": {"$date": query["end"]}}
    tokens = {name: {"$sum": f"${name}"} for name in TOKENS}
    return [
        {"$match": match},
        {"$group": {"_id": {"$ifNull": ["$event_id", "$source"]}, "copies": {"$sum": 1}, **tokens}},
        {"$group": {"_id": None, "stored": {"$sum": "$copies"}, "distinct": {"$sum": 1}, **tokens}},
    ]


def usage_sums(registered: Result) -> dict[str, dict[str, int]]:
    """What a loop of mongodb_aggregate with `usage_pipeline` added up, by the name of what was expected."""
    return {result["item"]["name"]: _sums(result) for result in registered.get("results", ())}


def _sums(result: Result) -> dict[str, int]:
    found = [*result.get("documents", ()), NOTHING][0]
    return {name: found[name] for name in NOTHING}


def stored_checks(registered: Result) -> list[Check]:
    """Of a loop of mongodb_aggregate over what is expected: all of it is there, once."""
    checks = []
    for result in registered.get("results", ()):
        wanted, sums = result["item"], _sums(result)
        name, copies = wanted["name"], sums["stored"] - sums["distinct"]
        lost = f"; {reason(result)}" if "documents" not in result else ""
        checks += [
            check(
                f"{name} stored",
                sums["distinct"] == wanted["events"],
                f"{sums['distinct']} of {wanted['events']} events of {_whose(wanted)}{lost}",
            ),
            check(f"{name} stored once", copies == 0 and not lost, f"{copies} duplicates{lost}"),
        ]
        if TOKENS[0] in wanted:
            checks.append(
                check(
                    f"{name} tokens",
                    [sums[one] for one in TOKENS] == [wanted[one] for one in TOKENS],
                    f"{_tokens(sums)} of {wanted[TOKENS[0]]} and {wanted[TOKENS[1]]}{lost}",
                )
            )
    return checks


def told_checks(registered: Result) -> list[Check]:
    """Of a loop of the API's answers over what is expected: it tells of as much."""
    checks = []
    for result in registered.get("results", ()):
        wanted = result["item"]
        totals = (result.get("json") or {}).get("totals") or {}
        compared = [name for name in ("events", *TOKENS) if name in wanted]
        passed = bool(totals) and all(totals[name] == wanted[name] for name in compared)
        told = (
            f"{totals['events']} of {wanted['events']} events, {_tokens(totals)}"
            if totals
            else reason(result)
        )
        checks.append(check(f"{wanted['name']} in the API", passed, told))
    return checks


def _tokens(sums: Mapping[str, int]) -> str:
    return f"{sums[TOKENS[0]]} prompt and {sums[TOKENS[1]]} completion tokens"


def _whose(wanted: Mapping[str, Any]) -> str:
    query = wanted["query"]
    return f"model {query['model']}" if "model" in query else f"host {query['host']}"


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "knock_checks": knock_checks,
            "container_checks": container_checks,
            "disk_check": disk_check,
            "has_room": has_room,
            "topic_checks": topic_checks,
            "plan_check": plan_check,
            "write_check": write_check,
            "catalog_checks": catalog_checks,
            "consumed_checks": consumed_checks,
            "api_checks": api_checks,
            "login_checks": login_checks,
            "replay_checks": replay_checks,
            "sent_checks": sent_checks,
            "usage_pipeline": usage_pipeline,
            "usage_sums": usage_sums,
            "stored_checks": stored_checks,
            "told_checks": told_checks,
        }
