"""Holds servers that nobody vouches for to what an answer may take: headers by a deadline, texts by size and time.

A timeout of a socket bounds each silence alone; who sends a byte now and then could keep a thread for ever.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from localai_flask.gallery.transport import aside

HEADERS_S = 60.0
"""How long a server may take for its headers."""
TEXT_S = 60.0
"""How long a text may take to come."""
CHUNK = 1 << 16


class HeaderDeadline(HTTPConnection):
    """Ends the connection of a server that takes too long for its headers, or that nobody waits for any more."""

    def _new_conn(self) -> socket.socket:
        held = aside.connections.get()
        if held is None:
            return super()._new_conn()
        held.check()
        made = super()._new_conn()
        held.hold(made)
        return made

    def getresponse(self) -> Any:
        timer = threading.Timer(HEADERS_S, _end, (self.sock,))
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()
        finally:
            timer.cancel()


class _Securely(HeaderDeadline, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = HeaderDeadline


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Securely


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # that of TLS would take its state from the reader


class HeadersInTime(HTTPAdapter):
    """Mixed into an adapter of `requests`, which then waits for headers no longer than that."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # which has connections of its own
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager


class UnreadRedirects(requests.Session):
    """Does not read what comes with a redirect, which `requests` would all take into memory."""

    def get_redirect_target(self, resp: requests.Response) -> Any:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()
        return target


class TooMuch(Exception):
    """A server sends more than a text may have."""


def read_bounded(response: requests.Response, most_bytes: int) -> bytes:
    """Read a text; raise `TooMuch` beyond its size, and `requests.Timeout` if it takes too long."""
    content, deadline = bytearray(), time.monotonic() + TEXT_S
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=True):
            content += chunk
            if len(content) > most_bytes:
                raise TooMuch
            _check_time(deadline)
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    return bytes(content)


def read_at_most(response: requests.Response, length: int) -> bytes:
    """Read the first bytes of an answer; raise `requests.Timeout` if that takes too long."""
    content, deadline = bytearray(), time.monotonic() + TEXT_S
    while len(content) < length and (chunk := response.raw.read1(min(CHUNK, length - len(content)))):
        content += chunk
        _check_time(deadline)
    return bytes(content)


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise requests.Timeout(f"it takes more than {TEXT_S:.0f} s to send a text")
