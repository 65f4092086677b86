"""Keeps connections away from this machine and from private networks, when strangers say where to connect to.

The name is looked up once, and the connection is made to what was found and checked: who answers for a name cannot say
one thing for the check and another for the connection. A proxy looks names up itself; then only what is written counts.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from localai_flask.gallery.errors import PrivateAddress
from localai_flask.gallery.transport.bounded_answers import HeaderDeadline, HeadersInTime

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses behind which translators reach IPv4 ones (RFC 6052)."""


_OWN_TRANSLATED = ipaddress.ip_network("64:ff9b:1::/48")
"""Those of a network's own translators, which may reach private addresses (RFC 8215)."""
_COMPATIBLE = ipaddress.ip_network("::/96")
"""An old form of IPv4 addresses (RFC 4291, 2.5.5.1), which nobody uses in good faith."""


def is_public(ip: _IP) -> bool:
    """Return whether anybody on the internet would reach the same machine at an address."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip in _OWN_TRANSLATED or ip in _COMPATIBLE:
            return False
        if inner is not None:
            return is_public(inner)
    return ip.is_global and not ip.is_multicast


def check_host(host: str) -> None:
    """Raise `PrivateAddress` if a host as it is written is none of the internet; names are not looked up."""
    host = host.lower().strip("[]").rstrip(".").partition("%")[0]
    try:
        refused = not is_public(ipaddress.ip_address(host))
    except ValueError:
        refused = "." not in host or host.endswith((".localhost", ".local", ".internal", ".home.arpa"))
    if refused:
        raise PrivateAddress(host)


def _look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a name; raise `PrivateAddress` unless all of them are public."""
    check_host(host)
    found = {str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    if not all(is_public(ipaddress.ip_address(address.partition("%")[0])) for address in found):
        raise PrivateAddress(host)
    return sorted(found, key=lambda address: ":" in address)


class _Checked(HeaderDeadline):
    """Connects to public addresses only."""

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            addresses = _look_up(name, self.port)
        except socket.gaierror:
            return super()._new_conn()  # which fails in the same way, and says so
        try:
            for address in addresses[:-1]:
                self._dns_host = address
                try:
                    return super()._new_conn()
                except HTTPError:  # perhaps another of its addresses can be reached
                    pass
            self._dns_host = addresses[-1]
            return super()._new_conn()
        finally:
            self._dns_host = name


class _CheckedSecurely(_Checked, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Checked


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _CheckedSecurely


class PublicOnly(HeadersInTime):
    """Mixed into an adapter of `requests`; raises `PrivateAddress` for each request that leads elsewhere."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        check_host(urlsplit(request.url or "").hostname or "")
        return super().send(request, *args, **kwargs)
