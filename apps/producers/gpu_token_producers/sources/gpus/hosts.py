"""Which host a reading is of."""

import re
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from gpu_token_producers.sources.labels import Labels

# The exporter's own, by generation; a Prometheus server that has such a label itself renames it.
_HOST_LABELS = ("hostname", "Hostname", "exported_hostname", "exported_Hostname")
# The address that a Prometheus server fetched it from.
_INSTANCE = "instance"
# An exporter in a container reports the container's id, one in Kubernetes its pod's name.
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")
_POD = re.compile(r".*dcgm-exporter-[a-z0-9]{5}")


def host_of(settings: Labels, reported: Mapping[str, str], target: str) -> str | None:
    """The settings' host; else the exporter's, unless it is a container's or a pod's; else the address."""
    if settings.host is not None:
        return settings.host
    for label in _HOST_LABELS:
        name = reported.get(label)
        if name and not (_CONTAINER_ID.fullmatch(name) or _POD.fullmatch(name)):
            return name
    return host_part(reported.get(_INSTANCE, "")) or host_part(target)


def host_part(address: str) -> str | None:
    """`gpu-a` of `http://gpu-a:9400/metrics` or `gpu-a:9400`; None if there is none."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError:
        return None


def this_host() -> str | None:
    """This machine's name; None in a container that has its id for a name."""
    name = socket.gethostname()
    return None if _CONTAINER_ID.fullmatch(name) else name or None
