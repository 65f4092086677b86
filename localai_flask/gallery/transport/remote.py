"""A file on a server, and how it is asked for: what a source finds out and the downloader works with."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3

from localai_flask.gallery.transport.bounded_answers import HeadersInTime, UnreadRedirects
from localai_flask.gallery.transport.public_addresses import PublicOnly

CONNECT_S, READ_S = 15.0, 30.0
"""How long a server may take to accept a connection, and how long it may be silent."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another try may well not meet."""


@dataclass(frozen=True)
class Remote:
    """One file to download; `size` and the sums are what the source says of it, None and "" where it is silent."""

    url: str
    name: str
    sha256: str = ""
    size: int | None = None
    member: str = ""
    """The file inside it that is wanted, if it is a zip archive such as a wheel."""
    session: requests.Session = field(default_factory=lambda: open_session())
    headers: Mapping[str, str] = field(default_factory=dict)
    git_sha1: str = ""

    @contextmanager
    def open(self, offset: int = 0, validator: str = "") -> Iterator[requests.Response]:
        """Ask for the bytes from `offset` on, as long as `validator` (an ETag or a date) still fits."""
        headers = {
            **self.headers,
            "Accept-Encoding": "identity",
        }  # a size and an offset mean the bytes as they lie there
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        with self.session.get(self.url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as response:
            yield response


class _SystemCertificates(HeadersInTime):
    """Trusts the authorities of this machine beside those that come with Python packages, as pip does."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        context = ssl.create_default_context()
        return super().init_poolmanager(*args, ssl_context=context, **kwargs)


class _Unchecked(HeadersInTime):
    """Checks no certificate, for hosts that the configuration calls trusted."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        return super().send(request, *args, **{**kwargs, "verify": False})


class _PublicWithSystemCertificates(PublicOnly, _SystemCertificates):
    pass


def open_session(
    *, certificates: str = "", proxy: str = "", trusted: frozenset[str] = frozenset(), private_addresses: bool = False
) -> requests.Session:
    """Open a session that heeds the proxies, certificates and passwords of the environment and of ~/.netrc."""
    session = UnreadRedirects()
    session.mount("http://", HeadersInTime() if private_addresses else PublicOnly())
    session.mount("https://", _SystemCertificates() if private_addresses else _PublicWithSystemCertificates())
    if certificates:
        session.verify = certificates
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    for host in trusted:
        session.mount(f"https://{host}", _Unchecked())
    return session


class Bearer(requests.auth.AuthBase):
    """Shows a token to a session's servers; `requests` takes it away before it follows them to another host."""

    def __init__(self, token: str):
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def read_retry_after(said: str) -> float:
    """Return how many seconds a server wants to be left alone, which it may say as a date; 0 if it does not."""
    if said.strip().isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def shown(url: str) -> str:
    """Return an address without the password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def reason_of(error: requests.RequestException | urllib3.exceptions.HTTPError) -> str:
    """Return the innermost cause in a few words; what wraps it repeats addresses and names of classes."""
    if isinstance(error, requests.RequestException) and error.response is not None:
        return f"it answers {error.response.status_code} {error.response.reason}"
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, http.client.IncompleteRead):
        return "the connection ended early"
    return (isinstance(seen, OSError) and seen.strerror) or str(seen) or type(seen).__name__
