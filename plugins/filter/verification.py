"""What the machines reported in a run of verify.yml, and the result.

A machine's facts are `verify_ping`, `verify_checks`, and what its role's entry point `verify` returned:
``<role>_verified``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.gpu_token.pipeline.plugins.filter.machines import absence

Groups = Mapping[str, Sequence[str]]
Facts = Mapping[str, Any]
HostVars = Mapping[str, Facts]
Check = dict[str, Any]

SECOND = "%Y-%m-%dT%H:%M:%S"
BROKE_OFF = "the checks broke off; see above"


def verified(hostvars: HostVars, groups: Groups, role: str) -> list[Facts]:
    """What the machines of a role have returned."""
    told = (hostvars[machine].get(f"{role}_verified") for machine in sorted(groups.get(role, ())))
    return [facts for facts in told if facts]


def event_seconds(report: Facts) -> dict[str, str]:
    """The seconds of event time that a replay lies in: start included, end not."""
    first, last = (datetime.strptime(report[name][:19], SECOND) for name in ("first_ts", "last_ts"))
    return {"start": f"{first:{SECOND}}Z", "end": f"{last + timedelta(seconds=1):{SECOND}}Z"}


def told_so_far(hostvars: HostVars, groups: Groups, patience_seconds: int = 60) -> dict[str, Any]:
    """What the producers and the processors have told, as the other machines need it for their own checks.

    `expected` lists what must be stored: the marked events, and the newest replay. `wait_seconds` is how long
    to wait for them: 0 where they were not sent, or no processor works. Dead letters count from `since` on.
    """
    producers, processors = (verified(hostvars, groups, role) for role in ("producers", "processor"))
    sender = next((facts for facts in producers if facts["marked_events"]), None)
    reports = [facts["report"] for facts in producers if facts["report"]]
    replay = max(reports, key=lambda report: str(report["started_at"]), default=None)
    expected: list[dict[str, Any]] = []
    if sender:
        query = {"host": sender["marker"]}
        expected.append({"name": "round trip", "query": query, "events": sender["marked_events"]})
    if replay and replay["first_ts"]:
        query = {"model": replay["model"], **event_seconds(replay)}
        tokens = {name: replay[name] for name in ("prompt_tokens", "completion_tokens")}
        expected.append({"name": "replay", "query": query, "events": replay["sent"], **tokens})
    works = not processors or any(facts["working"] for facts in processors)
    return {
        "expected": expected,
        "wait_seconds": patience_seconds if sender and sender["sent"] and works else 0,
        "since": (replay or {}).get("started_at") or (sender or {}).get("marked_at", ""),
        "consumer_group": processors[0]["consumer_group"] if processors and expected else "",
    }


def verification(
    hostvars: HostVars,
    groups: Groups,
    machines: Sequence[str],
    missing: Sequence[str],
    demanded: Sequence[int],
) -> dict[str, Any]:
    """What build/verify.json says: of the machines asked, and of those of fleet.yml that do not run.

    `demanded` are the last replay's events, prompt tokens and completion tokens, or nothing.
    """
    expected = told_so_far(hostvars, groups)["expected"]
    subject: dict[str, Any] = expected[-1] if expected else {"name": "", "events": 0}
    stored = _stored(hostvars, groups, subject["name"])
    checks = {machine: _told(hostvars[machine]) for machine in machines}
    checks |= {machine: [_answers(False, absence([machine]))] for machine in missing}
    if demanded and (mongo := sorted({*checks} & {*groups.get("mongo", ())})):
        checks[mongo[0]].append(_demanded(_stored(hostvars, groups, "replay"), demanded))
    listed = [{"host": machine, **check} for machine in sorted(checks) for check in checks[machine]]
    return {
        "passed": all(check["passed"] for check in listed),
        "checks": listed,
        "totals": {
            "sent": subject["events"],
            "stored": stored["stored"],
            "dead_lettered": sum(facts["dead_letters"] for facts in verified(hostvars, groups, "kafka")),
            # Copies of an event, and events that nobody sent.
            "duplicates": stored["stored"] - min(stored["distinct"], subject["events"]),
            "context_tokens": stored["prompt_tokens"],
            "generated_tokens": stored["completion_tokens"],
        },
        # By model and team: of the last replay, and of the hour before this run.
        **{
            what: next((facts[what] for facts in verified(hostvars, groups, "processor") if facts[what]), {})
            for what in ("costs", "recent_costs")
        },
    }


def _stored(hostvars: HostVars, groups: Groups, name: str) -> dict[str, int]:
    """What the store holds of the marked events, or of the last replay; what broke off counts as nothing."""
    sums = {"stored": 0, "distinct": 0, "prompt_tokens": 0, "completion_tokens": 0}
    for facts in verified(hostvars, groups, "mongo"):
        sums |= facts["sums"].get(name, {})
    return sums


def _answers(passed: bool, detail: str) -> Check:
    return {"name": "machine answers", "passed": passed, "detail": detail}


def _told(facts: Facts) -> list[Check]:
    """A machine's checks; one that answered and left none did not get as far as the first."""
    ping = facts.get("verify_ping", {"msg": BROKE_OFF})
    if "ping" not in ping:
        return [_answers(False, str(ping["msg"]))]
    broke_off = {"name": "verify", "passed": False, "detail": BROKE_OFF}
    return [_answers(True, f"over SSH at {facts['ansible_host']}"), *facts.get("verify_checks", [broke_off])]


def _demanded(stored: Mapping[str, int], demanded: Sequence[int]) -> Check:
    """Whether the last replay has the totals that the caller demands."""
    found = [stored[name] for name in ("stored", "prompt_tokens", "completion_tokens")]
    events, prompt, completion = found
    wanted = ", ".join(str(number) for number in demanded)
    return {
        "name": "demanded totals",
        "passed": found == list(demanded),
        "detail": f"{events} events, {prompt} prompt and {completion} completion tokens; demanded: {wanted}",
    }


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"told_so_far": told_so_far, "verification": verification}
