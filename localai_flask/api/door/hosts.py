"""By which names the server may be called.

A web page can have its own name point at this machine (DNS rebinding), and then calls the server as if both were one
site. So where no key keeps strangers out, a name that public DNS could give to anybody has to be among the settings.
"""

from __future__ import annotations

import ipaddress
import socket

from flask import request

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.errors import HostNotAllowed

PRIVATE = ("localhost", "local", "internal", "home.arpa", "lan", "svc", "test")
"""What names end with that no public DNS server has: RFC 6761, 6762, 8375, ICANN's `internal`, and by common use."""


def require_known_host() -> None:
    """Raise `HostNotAllowed` if a server without keys, or one with a list of names, is called by another name."""
    settings = current.settings()
    named = settings.allowed_hosts
    if (current.keys().required and not named) or "*" in named or auth.is_open(request.path):
        return
    host = _name_in(request.headers.get("Host", ""))
    if host and not _is_private(host) and not any(_matches(host, each.lower()) for each in named):
        raise HostNotAllowed(
            f"This server does not know itself as {host!r}; add that name to LOCALAI_ALLOWED_HOSTS, or set "
            "LOCALAI_API_KEY. Behind a proxy it is the name by which clients call the proxy."
        )


def _name_in(header: str) -> str:
    """Return the host's name without port and brackets, in lower case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def _is_private(host: str) -> bool:
    """Whether no page of the web has this name: an address, one word, this machine's own, or a private one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        own = socket.gethostname().lower()
        return "." not in host or host == own or any(host.endswith(f".{end}") for end in PRIVATE)
    return True


def _matches(host: str, allowed: str) -> bool:
    """Whether a name is the allowed one, or below one that is written as `.example.org` or `*.example.org`."""
    suffix = allowed.removeprefix("*")
    return host == allowed or (suffix.startswith(".") and host.endswith(suffix))
