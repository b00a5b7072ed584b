"""mongod's settings, as far as SecantusDB knows them: command line over configuration file over defaults."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import yaml

EVERY_ADDRESS = "0.0.0.0"


class SettingError(Exception):
    """A setting that cannot be honoured; the message is one sentence."""


@dataclass(frozen=True)
class Settings:
    """What the server is started with."""

    db_path: str = "/data/db"
    port: int = 27017
    bind_ip: str = "localhost"
    cache_size_gb: float = 0.25
    authorization: bool = False
    tls: bool = False
    certificate_key_file: str = ""
    ca_file: str = ""
    require_client_certificate: bool = True


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from mongod's command line; an unknown flag ends the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="mongod", description="SecantusDB under mongod's flags", allow_abbrev=False
    )
    parser.add_argument("--config", "-f", type=Path)
    parser.add_argument("--dbpath")
    parser.add_argument("--port", type=int)
    parser.add_argument("--bind_ip")
    parser.add_argument("--bind_ip_all", action="store_true")
    parser.add_argument("--wiredTigerCacheSizeGB", type=float, dest="cache_size_gb")
    parser.add_argument("--auth", action="store_true")
    parser.add_argument("--noauth", action="store_true")
    parser.add_argument("--tlsMode", dest="tls_mode")
    parser.add_argument("--tlsCertificateKeyFile", dest="certificate_key_file")
    parser.add_argument("--tlsCAFile", dest="ca_file")
    parser.add_argument("--tlsAllowConnectionsWithoutCertificates", action="store_true", dest="any_client")
    parser.add_argument("--quiet", action="store_true", help="accepted; the server logs little anyway")
    parser.add_argument("--version", action="store_true")
    given = parser.parse_args(arguments)
    if given.version:
        parser.exit(message=f"{about()}\n")

    settings = _from_file(given.config) if given.config else Settings()
    flags = {
        "db_path": given.dbpath,
        "port": given.port,
        "bind_ip": EVERY_ADDRESS if given.bind_ip_all else given.bind_ip,
        "cache_size_gb": given.cache_size_gb,
        "authorization": True if given.auth else False if given.noauth else None,
        "tls": _tls(given.tls_mode) if given.tls_mode else None,
        "certificate_key_file": given.certificate_key_file,
        "ca_file": given.ca_file,
        "require_client_certificate": False if given.any_client else None,
    }
    return _checked(replace(settings, **{name: value for name, value in flags.items() if value is not None}))


def about() -> str:
    """What this really is."""
    return f"SecantusDB {version('secantusdb')} in the place of mongod (it is not MongoDB)"


def _from_file(path: Path) -> Settings:
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SettingError(f"Error opening config file {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise SettingError(f"Error parsing config file {path}: {error}.") from error
    values: dict[str, object] = {}
    for option, value in _flat("", content):
        if option not in OPTIONS:
            raise SettingError(
                f"Unrecognized option: {option} in {path}; known here are {', '.join(OPTIONS)}."
            )
        name = OPTIONS[option]
        if name:
            values[name] = value
    try:
        return Settings(
            db_path=str(values.get("db_path", Settings.db_path)),
            port=int(str(values.get("port", Settings.port))),
            bind_ip=EVERY_ADDRESS if values.get("bind_all") else str(values.get("bind_ip", Settings.bind_ip)),
            cache_size_gb=float(str(values.get("cache_size_gb", Settings.cache_size_gb))),
            authorization=_enabled(values.get("authorization", "disabled")),
            tls=_tls(values.get("tls_mode", "disabled")),
            certificate_key_file=str(values.get("certificate_key_file", "")),
            ca_file=str(values.get("ca_file", "")),
            require_client_certificate=not values.get("any_client"),
        )
    except ValueError as error:
        raise SettingError(f"A number in {path} is none: {error}.") from error


# The option's name here; empty for one that is accepted because what it asks for holds anyway.
OPTIONS = {
    "storage.dbPath": "db_path",
    "storage.engine": "",
    "storage.wiredTiger.engineConfig.cacheSizeGB": "cache_size_gb",
    "net.port": "port",
    "net.bindIp": "bind_ip",
    "net.bindIpAll": "bind_all",
    "net.tls.mode": "tls_mode",
    "net.tls.certificateKeyFile": "certificate_key_file",
    "net.tls.CAFile": "ca_file",
    "net.tls.allowConnectionsWithoutCertificates": "any_client",
    "security.authorization": "authorization",
    "systemLog.quiet": "",
}


def _flat(prefix: str, content: object) -> list[tuple[str, object]]:
    if not isinstance(content, Mapping):
        return [(prefix, content)]
    return [pair for key, value in content.items() for pair in _flat(f"{prefix}.{key}".lstrip("."), value)]


def _enabled(value: object) -> bool:
    if value not in ("enabled", "disabled"):
        raise SettingError(f"security.authorization is {value!r}: set it to enabled or disabled.")
    return value == "enabled"


def _tls(mode: object) -> bool:
    if mode not in ("requireTLS", "disabled"):
        raise SettingError(
            f"The TLS mode is {mode!r}, but SecantusDB takes all connections with TLS or none: "
            "set requireTLS or disabled."
        )
    return mode == "requireTLS"


def _checked(settings: Settings) -> Settings:
    files = (settings.certificate_key_file, settings.ca_file)
    if settings.tls and not all(files):
        raise SettingError("TLS needs both a certificateKeyFile and a CAFile, as MongoDB 7.0 demands.")
    if any(files) and not settings.tls:
        raise SettingError("Files for TLS are set, but TLS is disabled: set the mode requireTLS.")
    addresses = [address.strip() for address in settings.bind_ip.split(",")]
    if "*" in addresses or EVERY_ADDRESS in addresses or "::" in addresses:
        return replace(settings, bind_ip=EVERY_ADDRESS)
    if len(addresses) > 1:
        raise SettingError(
            f"bindIp is {settings.bind_ip!r}, but SecantusDB listens on one address: name one, or 0.0.0.0."
        )
    if settings.cache_size_gb < 0.01:
        raise SettingError(f"cacheSizeGB is {settings.cache_size_gb}: give it at least 0.01.")
    return settings
