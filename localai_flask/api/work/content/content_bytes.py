"""The bytes of an image or a document that a request names: in itself, at a public address, or among the files."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import requests
from flask import has_request_context, request

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.errors import NotFound
from localai_flask.gallery.errors import PrivateAddress
from localai_flask.gallery.transport.aside import run_aside
from localai_flask.gallery.transport.bounded_answers import TooMuch, read_bounded
from localai_flask.gallery.transport.remote import CONNECT_S, READ_S, open_session, reason_of
from localai_flask.settings import Settings
from localai_flask.store.files import Files, StoredFile
from localai_flask.store.opened import Store

KEPT_S, MOST_KEPT = 300.0, 64 * 2**20
"""How long what was fetched is kept for the conversation's next turns, and how many bytes of it."""

LONGEST_S = 120.0
"""How long a fetch may take with all redirects."""


class NotToBeHad(Exception):
    """Holds as a predicate why there are no bytes ("has an address of a private network")."""


class Source(Protocol):
    """An image or a document of a request; one of the three is there."""

    @property
    def data(self) -> bytes: ...
    @property
    def url(self) -> str: ...
    @property
    def file_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ContentAccess:
    """What whoever asks may have: its files, and what is at public addresses unless the server is offline.

    It is taken while there is a request, as a stream plans its prompt when there may be none any more.
    """

    settings: Settings
    keeper: str | None
    caller: str
    """Whose turn it is where many want something: a key, or a client of a server without keys."""
    open_store: Callable[[], Store]

    @classmethod
    def of_caller(cls) -> ContentAccess:
        keeper = auth.keeper()
        return cls(current.settings(), keeper, keeper or _client(), current.store_opener())

    def bytes_of(self, source: Source, most_bytes: int) -> Generator[None, None, bytes]:
        """Return the bytes, yielding at each beat of waiting; raise `NotToBeHad` if they cannot be had, or are many."""
        if source.file_id:
            return self._read_file(source.file_id, most_bytes)
        data = source.data or (yield from _fetched.get(source.url, most_bytes, is_offline=self.settings.offline))
        _check_size(len(data), most_bytes)
        return data

    def find_file(self, id: str) -> StoredFile:
        """Return an uploaded file; raise `NotToBeHad` if whoever asks has none with this id."""
        try:
            return self._files().get(id)
        except NotFound:
            raise _missing(id) from None

    def _files(self) -> Files:
        return self.open_store().files.kept_by(self.keeper)

    def _read_file(self, id: str, most_bytes: int) -> bytes:
        _check_size(self.find_file(id).size, most_bytes)
        try:
            return b"".join(self._files().read(id))
        except NotFound:  # deleted meanwhile
            raise _missing(id) from None


def _client() -> str:
    return request.remote_addr or "" if has_request_context() else ""


def _missing(id: str) -> NotToBeHad:
    return NotToBeHad(f"is the file {id}, which is not here; it has expired or was deleted: upload it again")


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise NotToBeHad(f"has {size} bytes, and at most {most_bytes} are allowed")


class _Fetched:
    """Fetches from public addresses, and keeps for a while, as each turn sends its conversation whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    def get(self, url: str, most_bytes: int, *, is_offline: bool) -> Generator[None, None, bytes]:
        with self._lock:
            until, data = self._kept.get(url, (0.0, b""))
        if time.monotonic() < until:
            return data
        if is_offline:
            raise NotToBeHad("is to be fetched, which LOCALAI_OFFLINE forbids; send it as a `data:` address")
        try:
            data = yield from run_aside(lambda: self._fetch(url, most_bytes), LONGEST_S)
        except TimeoutError as error:
            raise NotToBeHad(f"cannot be fetched: {error}") from None
        with self._lock:
            self._kept[url] = time.monotonic() + KEPT_S, data
            self._kept.move_to_end(url)
            while sum(len(each) for _, each in self._kept.values()) > MOST_KEPT:
                self._kept.popitem(last=False)
        return data

    def _fetch(self, url: str, most_bytes: int) -> bytes:
        try:
            with open_session().get(url, stream=True, timeout=(CONNECT_S, READ_S)) as response:
                response.raise_for_status()
                return read_bounded(response, most_bytes)
        except PrivateAddress:
            raise NotToBeHad("has an address of this machine or of a private network") from None
        except TooMuch:
            raise NotToBeHad(f"has more than {most_bytes} bytes") from None
        except requests.RequestException as error:
            raise NotToBeHad(f"cannot be fetched: {reason_of(error)}") from None


_fetched = _Fetched()
