"""Keeps on disk what was last fetched of galleries, so that they are asked seldom and known without a network.

Only what could be read is kept. Whoever cannot write there does without.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from localai_flask import __version__
from localai_flask.atomic_file import replace_file
from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery.errors import Offline
from localai_flask.gallery.index.texts import fetch_text
from localai_flask.gallery.sources import Access

log = logging.getLogger("gunicorn.error")

T = TypeVar("T")
FRESH_S = 300.0
"""How long what was fetched is taken as it is."""
PAUSE_S = 120.0
"""How long an address that has failed is not asked again, while something else can be had."""


class Kept(msgspec.Struct, frozen=True):
    """What a cache file holds: the content in msgpack, and when it was last known to be the newest."""

    url: str
    etag: str
    checked_at: float
    content: bytes


class Known(msgspec.Struct, Generic[T], frozen=True):
    """What is known of a document; with an `error` it could not be had anew, and is what was last fetched."""

    content: T
    url: str
    checked_at: float
    error: str = ""


class DocumentCache(Generic[T]):
    """Documents of one kind by their addresses; any thread may ask."""

    def __init__(self, folder: Path, read: Callable[[str], T], kind: type[T]):
        """`read` makes the content of a text, and raises `ValueError` if it is no document of this kind."""
        self._folder = folder
        self._read = read
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._fetching = threading.Lock()
        self._decoded: dict[str, tuple[tuple[int, int], Known[T]]] = {}
        self._failed: dict[str, tuple[float, ApiError]] = {}

    def get(self, addresses: Sequence[str], access: Access) -> Known[T]:
        """Return the document of the first address that has it.

        Raises the first address's `ApiError` if none can be asked and nothing is kept.
        """
        kept = {address: known for address in addresses if (known := self._load(address)) is not None}
        first = kept.get(addresses[0])
        if first is not None and time.time() - first.checked_at < FRESH_S:
            return first
        if not self._fetching.acquire(blocking=not kept):
            return self._newest(kept)  # somebody else is asking
        try:
            return self._ask(addresses, access, kept)
        finally:
            self._fetching.release()

    def _ask(self, addresses: Sequence[str], access: Access, kept: dict[str, Known[T]]) -> Known[T]:
        errors: list[ApiError] = []
        for address in addresses:
            try:
                return self._fetch(address, kept.get(address), access)
            except ApiError as error:
                errors.append(error)
        if not kept:
            raise errors[0]
        return msgspec.structs.replace(self._newest(kept), error=str(errors[0]))

    @staticmethod
    def _newest(kept: dict[str, Known[T]]) -> Known[T]:
        return max(kept.values(), key=lambda known: known.checked_at)

    def _fetch(self, address: str, kept: Known[T] | None, access: Access) -> Known[T]:
        failed_at, error = self._failed.get(address, (0.0, None))
        if error is not None and time.monotonic() - failed_at < PAUSE_S and not isinstance(error, Offline):
            raise ApiError.from_info(error.info)
        try:
            known = self._fetch_now(address, kept, access)
        except ApiError as error:
            self._failed[address] = time.monotonic(), error
            raise
        self._failed.pop(address, None)
        return known

    def _fetch_now(self, address: str, kept: Known[T] | None, access: Access) -> Known[T]:
        etag = "" if kept is None else self._etag(address)
        fetched = fetch_text(address, access, etag)
        if fetched.text is None and kept is not None:
            content = kept.content
        else:
            try:
                content = self._read(fetched.text or "")
            except ValueError as error:
                raise ConfigError(f"What {address} holds cannot be used: {error}.") from error
        self._store(Kept(address, fetched.etag, time.time(), msgspec.msgpack.encode(content)))
        return Known(content, address, time.time())

    def _file(self, address: str) -> Path:
        named = hashlib.sha256(f"{__version__} {address}".encode()).hexdigest()  # another version may read otherwise
        return self._folder / f"{named[:32]}.msgpack"

    def _etag(self, address: str) -> str:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.msgpack.decode(self._file(address).read_bytes(), type=Kept).etag
        return ""

    def _load(self, address: str) -> Known[T] | None:
        """Read what is kept of an address, anew only if the file has changed."""
        file = self._file(address)
        with suppress(OSError, msgspec.DecodeError):
            stat = file.stat()
            stamp = stat.st_mtime_ns, stat.st_size
            if address not in self._decoded or self._decoded[address][0] != stamp:
                kept = msgspec.msgpack.decode(file.read_bytes(), type=Kept)
                self._decoded[address] = stamp, Known(self._decoder.decode(kept.content), address, kept.checked_at)
            return self._decoded[address][1]
        return None

    def _store(self, kept: Kept) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(self._file(kept.url), msgspec.msgpack.encode(kept))
        except OSError as error:
            log.warning("cannot keep what %s holds in %s: %s", kept.url, self._folder, error.strerror or error)
