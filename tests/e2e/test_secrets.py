"""No secret can be read without the right to. They are searched for after a run at full verbosity."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from .environment import ROLES, every_secret, parameters, secrets_path
from .runner import ROOT, Play, play

OnMachine = Callable[..., str]


@pytest.fixture(scope="module")
def secrets(converged: Play) -> dict[str, str]:
    """Every secret by its name, with what of it would be found in a text."""
    return kept()


def kept() -> dict[str, str]:
    """What SSM holds now; of the authority's key, in PEM, the first line."""
    found = every_secret()
    del found["ca_certificate"]
    assert len(found) >= 8
    return {
        name: value.splitlines()[1] if value.startswith("-----") else value for name, value in found.items()
    }


def places(converged: Play, on_machine: OnMachine) -> Iterator[tuple[str, str]]:
    """Each place that somebody without the right may read, and its text."""
    yield "ansible-playbook -vvv --diff and ansible-runner's artifacts", converged.artifacts
    tracked = subprocess.run(
        ["git", "grep", "--untracked", "-h", ""], cwd=ROOT, check=True, capture_output=True, text=True
    )
    yield "the repository", tracked.stdout
    for machine, role in ROLES.items():
        yield f"docker inspect on {machine}", on_machine(machine, "docker", "inspect", role)
        yield f"docker logs on {machine}", on_machine(machine, "sh", "-c", f"docker logs {role} 2>&1")
        yield f"processes of {machine}", on_machine(machine, "ps", "-ef")
        yield f"the journal of {machine}", on_machine(machine, "journalctl", "--no-pager")
        yield f"what everybody may read on {machine}", on_machine(machine, "sh", "-c", READABLE)


# Files that any user of the machine can read, where this project or Docker writes.
READABLE = (
    "find /opt/gpu-token /srv /etc /tmp -type f -perm -004 -size -1024k -exec cat {} + 2>/dev/null || true"
)


def test_no_secret_is_shown(converged: Play, secrets: dict[str, str], on_machine: OnMachine) -> None:
    shown = []
    for place, text in places(converged, on_machine):
        assert text, f"{place} could not be read"
        shown += [(name, place) for name, value in secrets.items() if value in text]
    assert shown == []


def test_the_search_would_find_one(secrets: dict[str, str], on_machine: OnMachine) -> None:
    """Each secret is readable only by those who need it, on the machine or on the controller.

    The intake's token goes to machines that receive, and no source of this site is received.
    """
    files = "find /opt/gpu-token /srv -type f -size -1024k -exec cat {} + 2>/dev/null || true"
    text = "".join(on_machine(machine, "sh", "-c", files) for machine in ROLES)
    assert {name for name, value in secrets.items() if value not in text} == {
        "ca_private_key",
        "intake_token",
    }


# Arguments and environment of every process that lives for more than a moment.
WATCH = """
import pathlib, time
seen = set()
with open("/root/processes", "w") as log:
    while True:
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes().replace(b"\\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if text not in seen:
                    seen.add(text)
                    print(process.name, name, text, file=log, flush=True)
        time.sleep(0.1)
"""


@contextmanager
def watched(on_machine: OnMachine) -> Iterator[dict[str, str]]:
    """The arguments and environment of processes that ran during the block, by machine."""
    told: dict[str, str] = {}
    for machine in ROLES:
        on_machine(machine, "systemd-run", "--quiet", "--collect", "--unit=watch", "python3", "-c", WATCH)
    yield told
    for machine in ROLES:
        on_machine(machine, "systemctl", "stop", "watch")
        told[machine] = on_machine(machine, "cat", "/root/processes")
        on_machine(machine, "rm", "/root/processes")


def test_every_password_is_replaced_by_a_rerun(secrets: dict[str, str], on_machine: OnMachine) -> None:
    """No process sees a password, and the pipeline is healthy afterwards.

    That another run would change nothing is what test_changes proves, which comes next.
    """
    names = [name for name in secrets if name != "ca_private_key"]
    for name in names:
        parameters().delete_parameter(Name=f"{secrets_path()}/{name}")
    with watched(on_machine) as told:
        run = play("site.yml", verbosity=3).must_pass()
    new = kept()
    assert all(new[name] != secrets[name] for name in names)
    checked = play("playbooks/verify.yml", verbosity=3).must_pass()
    for machine, text in told.items():
        assert "docker" in text, f"nothing was seen on {machine}"
    texts = {"the run": run.artifacts, "verify -vvv": checked.artifacts, **told}
    both = [*secrets.items(), *new.items()]
    assert [(name, place) for place, text in texts.items() for name, value in both if value in text] == []
