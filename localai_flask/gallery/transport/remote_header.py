"""Reads the header of a GGUF file where it lies, by requests for parts of it, before the rest is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import requests
import urllib3

from localai_flask.config.files.gguf import GGUFInfo, inspect, inspect_stream
from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery.errors import PrivateAddress
from localai_flask.gallery.sources import RemoteFile, connect
from localai_flask.gallery.transport.bounded_answers import read_at_most
from localai_flask.gallery.transport.remote import CONNECT_S, READ_S

WINDOW = 4 << 20
"""Bytes of one request: most headers are smaller, as nearly all of one is the vocabulary."""
LEAST_BYTES = 32 << 20
"""Files smaller than this are not asked for their header: they fit anywhere, and it would be a large part of them."""
PARTIAL, OK = 206, 200


def read_header(file: RemoteFile, models_path: Path) -> GGUFInfo | None:
    """Read the header of a file that is there or far away; None if it has none, or cannot be read in parts.

    Raises `PrivateAddress` if it may not be asked for; whatever else is wrong, the download will say.
    """
    if not file.path.lower().endswith(".gguf") or file.member or (file.size or LEAST_BYTES) < LEAST_BYTES:
        return None
    target = models_path / file.path
    try:
        if target.exists():
            return inspect(target)
        stream = _RangedFile(file)
        return inspect_stream(file.path, stream, stream.size)  # type: ignore[arg-type]
    except PrivateAddress:
        raise
    except (ConfigError, ApiError, requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        return None


class _RangedFile:
    """As much of a file object as the reader of headers wants."""

    def __init__(self, file: RemoteFile):
        self._session = connect(file)
        self._file = file
        self._at = 0
        self._begin, self._window = 0, b""
        self.size = file.size or 0
        self._fetch(0, WINDOW)

    def seek(self, at: int, _: int = 0) -> int:
        self._at = at
        return at

    def read(self, length: int) -> bytes:
        """Read as much as there is in the window, or in a new one from here on."""
        end = min(self._at + length, self.size)
        if not (self._begin <= self._at and end <= self._begin + len(self._window)):
            self._fetch(self._at, max(length, WINDOW))
        start = self._at - self._begin
        found = self._window[start : start + length]
        self._at += len(found)
        return found

    def _fetch(self, begin: int, length: int) -> None:
        if self.size and begin >= self.size:
            self._begin, self._window = begin, b""
            return
        headers = {**self._file.headers, "Accept-Encoding": "identity", "Range": f"bytes={begin}-{begin + length - 1}"}
        answer: Any
        with self._session.get(self._file.url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as answer:
            if answer.status_code == PARTIAL:
                total = re.search(r"/([0-9]+)$", answer.headers.get("Content-Range", ""))
                self.size = self.size or (int(total[1]) if total else 0)
            elif answer.status_code != OK or begin:
                raise OSError(f"the server answers {answer.status_code}")
            else:
                self.size = self.size or int(answer.headers.get("Content-Length") or 0)
            self._begin, self._window = begin, read_at_most(answer, length)
