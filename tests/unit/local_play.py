"""A play that Ansible runs on this computer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from .role_files import ROOT

LOCAL = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    "fleet": {"project": "gpu-token"},
}


def run(play: Path, hosts: str, *flags: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run it for these hosts, which are all this computer; it must succeed."""
    command = ["ansible-playbook", "-i", f"{hosts},", "-vvv", *flags, "-e", json.dumps(LOCAL | variables)]
    done = subprocess.run(
        [*command, str(play)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
