"""Addresses: how the one to listen on is written, and whether other machines can reach it; those of networks."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass

LONGEST_SOCKET_PATH = 107
"""Bytes that `sun_path` holds beside its final zero: unix(7)."""
HIGHEST_PORT = 65535
OLLAMA_PORT = 11434
"""Where Ollama listens, and its clients look for it."""

_UNIX = re.compile(r"unix:(?://)?(?P<path>.+)")
_TCP = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]+)")


@dataclass(frozen=True)
class Address:
    """A host and a port, or the path of a Unix socket."""

    host: str = ""
    """Empty for every interface."""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; raise `ValueError` with the reason if it cannot be one."""
        if found := _UNIX.fullmatch(text):
            path: str = found["path"]
            if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
                raise ValueError(f"the path of a Unix socket has at most {LONGEST_SOCKET_PATH} bytes")
            return cls(path=path)
        found = _TCP.fullmatch(text)
        if found is None:
            raise ValueError("write it like 127.0.0.1:8080, [::1]:8080, :8080 or unix:/run/localai.sock")
        if len(found["port"]) > 5 or int(found["port"]) > HIGHEST_PORT:
            raise ValueError(f"a port is a number from 0 to {HIGHEST_PORT}")
        if found["six"] and _as_ip(found["six"]) is None:
            raise ValueError(f"{found['six']} is no IPv6 address")
        return cls(host=found["six"] or found["host"], port=int(found["port"]))

    @property
    def bind(self) -> str:
        """The address in gunicorn's form."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host or '0.0.0.0'}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it: a name may stand for any address, except localhost (RFC 6761)."""
        if self.path or self.host.lower().removesuffix(".") == "localhost":
            return False
        ip = _as_ip(self.host)
        return ip is None or not ip.is_loopback


def check_network(text: str) -> None:
    """Raise `ValueError` unless this is an address, a network, or `*` for all of them."""
    if text != "*":
        ipaddress.ip_network(text)


def _as_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read a numeric address, an IPv4 one also when it is written as IPv6; None if it is not numeric."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip
