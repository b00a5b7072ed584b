"""SSH as dev-sec's and CIS's baselines demand. Checks the settings in force, not a file."""

from __future__ import annotations

import pytest
from testinfra.host import Host

SETTINGS = {
    "allowagentforwarding": "no",
    "gatewayports": "no",
    "gssapiauthentication": "no",
    "hostbasedauthentication": "no",
    "ignorerhosts": "yes",
    "kbdinteractiveauthentication": "no",
    "passwordauthentication": "no",
    "permitemptypasswords": "no",
    "permitrootlogin": "no",
    "permittunnel": "no",
    "permituserenvironment": "no",
    "pubkeyauthentication": "yes",
    "strictmodes": "yes",
    "x11forwarding": "no",
}
CIPHERS = {
    "chacha20-poly1305@openssh.com",
    *(f"aes{bits}-gcm@openssh.com" for bits in (128, 256)),
    *(f"aes{bits}-ctr" for bits in (128, 192, 256)),
}
MACS = {
    "umac-128-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
}
KEY_EXCHANGES = {
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    *(f"ecdh-sha2-nistp{bits}" for bits in (256, 384, 521)),
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
}
LOG_IN = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"


@pytest.fixture(scope="module")
def settings(host: Host) -> dict[str, str]:
    """The settings as sshd itself puts them together."""
    with host.sudo():
        lines = host.check_output("sshd -T").splitlines()
    return {name: value for name, _, value in (line.partition(" ") for line in lines)}


def test_keys_are_the_only_way_in_and_nothing_is_forwarded(settings: dict[str, str]) -> None:
    assert {name: settings[name] for name in SETTINGS} == SETTINGS


def test_patience_has_limits(settings: dict[str, str]) -> None:
    assert 0 < int(settings["logingracetime"]) <= 60
    assert int(settings["maxauthtries"]) <= 4
    assert 0 < int(settings["clientaliveinterval"]) * int(settings["clientalivecountmax"]) <= 600


@pytest.mark.parametrize(
    ("name", "strong"), [("ciphers", CIPHERS), ("macs", MACS), ("kexalgorithms", KEY_EXCHANGES)]
)
def test_no_weak_algorithm(settings: dict[str, str], name: str, strong: set[str]) -> None:
    assert set(settings[name].split(",")) <= strong


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        ("-o Ciphers=aes128-ctr -o MACs=hmac-sha1 localhost", "no matching MAC found"),
        ("-o KexAlgorithms=diffie-hellman-group14-sha256 localhost", "no matching key exchange method found"),
        # Without a key; what stands in brackets is all that it would take.
        ("-o PubkeyAuthentication=no localhost", "Permission denied (publickey)."),
    ],
)
def test_the_running_sshd_refuses(host: Host, attempt: str, refusal: str) -> None:
    # testinfra takes 255, ssh's own failure, for one of its own connection.
    done = host.run(f"{LOG_IN} {attempt} true || exit 1")
    assert done.rc == 1
    assert refusal in done.stderr


def test_host_keys_and_settings_are_root_s(host: Host) -> None:
    with host.sudo():
        found = host.check_output("find /etc/ssh -type f -printf '%f %m %u %g\\n'").splitlines()
    rights = {name: (int(mode, 8), user, group) for name, mode, user, group in map(str.split, found)}
    assert {name for name, (_, *owner) in rights.items() if owner != ["root", "root"]} == set()
    assert {name for name, (mode, *_) in rights.items() if mode & 0o022} == set()
    keys = {name: mode for name, (mode, *_) in rights.items() if name.endswith("_key")}
    assert keys
    assert set(keys.values()) == {0o600}
