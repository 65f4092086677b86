"""A session of requests that also reaches servers at Unix sockets, and sends the key as it is."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from localai_flask.cli.client.target import SOCKET_URL, Target

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Bearer(AuthBase):
    """As an `auth`, since requests would prefer a password from ~/.netrc to a header."""

    def __init__(self, key: str):
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _SocketConnection(HTTPConnection):
    def __init__(self, path: str, **options: Any):
        super().__init__("localhost", **options)
        self._path = path

    def _new_conn(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        if isinstance(self.timeout, int | float):
            made.settimeout(self.timeout)
        made.connect(self._path)
        return made


class _SocketPool(HTTPConnectionPool):
    def __init__(self, path: str):
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> Any:
        return _SocketConnection(self._path, timeout=self.timeout.connect_timeout)


class _SocketAdapter(HTTPAdapter):
    def __init__(self, path: str):
        super().__init__()
        self._pool = _SocketPool(path)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        return self._pool


def open_session(target: Target) -> requests.Session:
    """Make a session for one server; proxies of the environment are for servers on other machines."""
    session = requests.Session()
    session.auth = _Bearer(target.api_key)
    session.trust_env = urlsplit(target.url).hostname not in LOOPBACK
    if target.socket:
        session.mount(SOCKET_URL, _SocketAdapter(target.socket))
    return session
