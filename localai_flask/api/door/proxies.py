"""What proxies that are trusted say of a request: who sent it, and under which path clients know this server.

gunicorn, which trusts the same, has taken over the scheme before. Slashes too many, as of a base URL that ends with
one, are taken away here: not every client follows a redirect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = re.compile(r"(/(?!\.{1,2}(?:/|$))[\w.~-]+)+", re.ASCII)
"""A path below this host's root; what begins with two slashes would be another host."""


ABSOLUTE = re.compile("https?://(?:[^/?#@]*@)?([^/?#@]+)", re.IGNORECASE)
"""How a request's target begins that is meant for a proxy, with the name of the host."""
SLASHES = re.compile("//+")


def tidy_path(path: str) -> str:
    """Return a path without slashes that follow each other, and without one at its end."""
    return SLASHES.sub("/", path).rstrip("/") or "/"


class Proxied:
    """A WSGI application behind proxies, `trusted` being their addresses and networks, or `*`."""

    def __init__(self, application: WSGIApplication, trusted: Sequence[str]):
        self._application = application
        self._trusts_all = "*" in trusted
        self._networks = [ipaddress.ip_network(each) for each in trusted if each != "*"]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.take_over(environ)
        return self._application(environ, start_response)

    def take_over(self, environ: WSGIEnvironment) -> None:
        """Have a request's environment say what its client has sent, as far as trusted proxies tell."""
        environ["PATH_INFO"] = tidy_path(environ.get("PATH_INFO", ""))
        if named := ABSOLUTE.match(environ.get("RAW_URI", "")):
            environ["HTTP_HOST"] = named[1]  # whatever the header says (RFC 9112, section 3.2.2)
        # A Unix socket has no address; its folder's permissions say who may use it.
        if not environ.get("REMOTE_ADDR") or self._is_trusted(environ["REMOTE_ADDR"]):
            _take_prefix(environ)
            self._take_client(environ)

    def _is_trusted(self, address: str) -> bool:
        if self._trusts_all:
            return True
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)

    def _take_client(self, environ: dict[str, Any]) -> None:
        """Have the request come from the last address that is no trusted proxy's; what is before it may be made up."""
        hops = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        for hop in reversed(hops):
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return
            environ["REMOTE_ADDR"] = hop
            environ.pop("REMOTE_PORT", None)
            if not self._is_trusted(hop):
                return


def _take_prefix(environ: dict[str, Any]) -> None:
    """Have links begin with the prefix, which the proxy may or may not have taken off the path."""
    prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/")
    if not PREFIX.fullmatch(prefix):
        return
    environ["SCRIPT_NAME"] = prefix
    environ["PATH_INFO"] = without_prefix(environ.get("PATH_INFO", ""), prefix)


def without_prefix(path: str, prefix: str) -> str:
    """Return a path as this server knows it, whether or not the proxy has taken the prefix off."""
    return path.removeprefix(prefix) or "/" if path == prefix or path.startswith(prefix + "/") else path
